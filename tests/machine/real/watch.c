/* Looks for needles in the arguments and the environment of every process, again and again.
 *
 * watch NEEDLES SEEN: the file NEEDLES has one needle a line. The file SEEN gets a line for each file of /proc that
 * contains a needle. On SIGTERM, SEEN gets a last line: 'end', the number of needles, how often all processes were
 * looked at, and how many files of /proc were read. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NEEDLES 16
#define SIZE (4 << 20)

static volatile sig_atomic_t ended;
static char needles[NEEDLES][256], content[SIZE];

static void end(int signal) {
    (void)signal;
    ended = 1;
}

static ssize_t read_all(const char *path) {
    int file = open(path, O_RDONLY);
    ssize_t size = 0, got;
    if (file < 0) return -1;
    while (size < SIZE && (got = read(file, content + size, SIZE - size)) > 0) size += got;
    close(file);
    return size;
}

int main(int count, char **arguments) {
    FILE *list = fopen(count == 3 ? arguments[1] : "", "r"), *seen = fopen(count == 3 ? arguments[2] : "", "w");
    unsigned long scans = 0, files = 0, number = 0, at;
    if (!list || !seen) return 2;
    while (number < NEEDLES && fgets(needles[number], sizeof needles[0], list)) {
        needles[number][strcspn(needles[number], "\n")] = 0;
        number++;
    }
    signal(SIGTERM, end);
    for (; !ended; scans++) {
        DIR *processes = opendir("/proc");
        struct dirent *process;
        while (processes && (process = readdir(processes))) {
            static const char *const kinds[] = {"cmdline", "environ"};
            if (process->d_name[0] < '0' || process->d_name[0] > '9') continue;
            for (int kind = 0; kind < 2; kind++) {
                char path[300];
                snprintf(path, sizeof path, "/proc/%s/%s", process->d_name, kinds[kind]);
                ssize_t size = read_all(path);
                files += size >= 0;
                for (at = 0; size > 0 && at < number; at++)
                    if (memmem(content, size, needles[at], strlen(needles[at]))) fprintf(seen, "%s\n", path);
            }
        }
        if (processes) closedir(processes);
    }
    fprintf(seen, "end %lu %lu %lu\n", number, scans, files);
    return fclose(seen) != 0;
}
