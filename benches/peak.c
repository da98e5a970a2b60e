/* Runs a program without its output, and prints the most memory it had (VmHWM), in KiB. A small program of its own, as
   the kernel counts what the process had before it executed the other one.

   peak PROGRAM ARGUMENT... */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    struct rusage usage;
    int status;
    if (count < 2)
        return 2;
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        dup2(null, 2);
        execvp(arguments[1], arguments + 1);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) < 0 || !WIFEXITED(status))
        return 1;
    printf("%ld\n", usage.ru_maxrss);
    return WEXITSTATUS(status);
}
