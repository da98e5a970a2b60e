/* Runs a program, discards its output, and prints the most memory that it had (VmHWM), in KiB. The kernel also counts
   the memory that the process had before it executed the program, so this is a small program in C.

   Usage: peak PROGRAM ARGUMENT... */
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
