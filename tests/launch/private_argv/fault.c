/* LD_PRELOAD loads this library into all processes of a start. The library acts in the tracer only: it causes a fault
 * at the Nth call of the functions below (FAULT_AT=N). With FAULT_IN=launcher it causes the fault in the launcher
 * instead, and counts from the socketpair(2) call for the socket to the tracer. FAULT=kill: SIGKILL ends the process
 * at that call. FAULT=fail: the call fails with EPERM. FAULT=wait: the process creates the file FAULT_MARK and waits
 * until a test removes the file. COUNT_INTO=FILE: at its end the tracer writes how often it has let a thread go on to
 * its next system call, and how often it has read registers. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static int at = -1, calls, launcher, counts, resumed, looked;

__attribute__((constructor)) static void start(void)
{
    char bytes[4096];
    int in = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t size = read(in, bytes, sizeof bytes);
    close(in);
    counts = getenv("COUNT_INTO") && size > 0 && memmem(bytes, size, "\0detached", 10);
    if (!getenv("FAULT_AT") || size <= 0)
        return;
    if (getenv("FAULT_IN"))
        launcher = !memmem(bytes, size, "\0private-argv-tracer", 20);
    else if (memmem(bytes, size, "\0detached", 10))
        at = atoi(getenv("FAULT_AT"));
}

__attribute__((destructor)) static void end(void)
{
    FILE *out = counts ? fopen(getenv("COUNT_INTO"), "w") : NULL;
    if (out) {
        fprintf(out, "%d %d", resumed, looked);
        fclose(out);
    }
}

/* Counts a call, and causes the fault if it is the Nth. Returns whether the call must fail. */
static int fault(void)
{
    if (at < 0 || ++calls != at)
        return 0;
    switch (getenv("FAULT")[0]) {
    case 'k':
        kill(getpid(), SIGKILL);
        pause();
        break;
    case 'w':
        close(open(getenv("FAULT_MARK"), O_CREAT | O_WRONLY, 0666));
        for (int tries = 0; tries < 60000 && access(getenv("FAULT_MARK"), F_OK) == 0; tries++)
            usleep(1000);
        break;
    default:
        errno = EPERM;
        return 1;
    }
    return 0;
}

#define CALL(type, name, parameters, ...)                                                                         \
    type name parameters                                                                                          \
    {                                                                                                             \
        type(*real) parameters = (type(*) parameters)dlsym(RTLD_NEXT, #name);                                     \
        return fault() ? -1 : real(__VA_ARGS__);                                                                  \
    }

CALL(pid_t, waitpid, (pid_t pid, int *status, int options), pid, status, options)
CALL(ssize_t, pread64, (int fd, void *bytes, size_t size, off_t offset), fd, bytes, size, offset)
CALL(ssize_t, pwrite64, (int fd, const void *bytes, size_t size, off_t offset), fd, bytes, size, offset)

/* Like fault(), for functions whose calls count in the launcher only. */
static int launcher_fault(void)
{
    return launcher && fault();
}

#define LAUNCHER_CALL(type, name, parameters, ...)                                                                \
    type name parameters                                                                                          \
    {                                                                                                             \
        type(*real) parameters = (type(*) parameters)dlsym(RTLD_NEXT, #name);                                     \
        return launcher_fault() ? -1 : real(__VA_ARGS__);                                                         \
    }

LAUNCHER_CALL(ssize_t, read, (int fd, void *bytes, size_t size), fd, bytes, size)
LAUNCHER_CALL(ssize_t, write, (int fd, const void *bytes, size_t size), fd, bytes, size)
LAUNCHER_CALL(ssize_t, recv, (int fd, void *bytes, size_t size, int flags), fd, bytes, size, flags)
LAUNCHER_CALL(ssize_t, send, (int fd, const void *bytes, size_t size, int flags), fd, bytes, size, flags)
LAUNCHER_CALL(int, execve, (const char *path, char *const words[], char *const environment[]), path, words, environment)
LAUNCHER_CALL(int, signalfd, (int fd, const sigset_t *signals, int flags), fd, signals, flags)

int socketpair(int domain, int type, int protocol, int fds[2])
{
    int (*real)(int, int, int, int *) = (int (*)(int, int, int, int *))dlsym(RTLD_NEXT, "socketpair");
    if (launcher)
        at = atoi(getenv("FAULT_AT"));
    return launcher_fault() ? -1 : real(domain, type, protocol, fds);
}

int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
                 char *const words[], char *const environment[])
{
    __typeof__(posix_spawnp) *real = (__typeof__(posix_spawnp) *)dlsym(RTLD_NEXT, "posix_spawnp");
    return launcher_fault() ? errno : real(pid, file, actions, attributes, words, environment);
}

int prctl(int option, ...)
{
    va_list list;
    va_start(list, option);
    unsigned long words[4];
    for (int i = 0; i < 4; i++)
        words[i] = va_arg(list, unsigned long);
    va_end(list);
    int (*real)(int, ...) = (int (*)(int, ...))dlsym(RTLD_NEXT, "prctl");
    return launcher_fault() ? -1 : real(option, words[0], words[1], words[2], words[3]);
}

long ptrace(enum __ptrace_request request, ...)
{
    va_list list;
    va_start(list, request);
    pid_t pid = va_arg(list, pid_t);
    void *address = va_arg(list, void *), *data = va_arg(list, void *);
    va_end(list);
    long (*real)(int, ...) = (long (*)(int, ...))dlsym(RTLD_NEXT, "ptrace");
    resumed += request == PTRACE_SYSCALL;
    looked += request == PTRACE_GETREGS || request == PTRACE_GETREGSET;
    return fault() ? -1 : real(request, pid, address, data);
}
