/* For the guest: prints when each file was last changed, in microseconds since the machine started (CLOCK_MONOTONIC), as
   exact as the kernel's tick, or nothing for one that is not there.

   when FILE... */
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

static long long micros(struct timespec time)
{
    return time.tv_sec * 1000000LL + time.tv_nsec / 1000;
}

int main(int count, char **arguments)
{
    struct timespec real, monotonic;
    struct stat stat_;
    clock_gettime(CLOCK_REALTIME, &real);
    clock_gettime(CLOCK_MONOTONIC, &monotonic);
    for (int i = 1; i < count; i++)
        if (stat(arguments[i], &stat_) == 0)
            printf("%s=%lld\n", arguments[i], micros(stat_.st_ctim) - micros(real) + micros(monotonic));
    return 0;
}
