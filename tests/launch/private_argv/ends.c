/* A wrapper that ends, or executes its arguments, in the way that its first argument names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#ifdef GO
/* The note that each Go program has. */
__asm__(".pushsection .note.go.buildid,\"a\",@note\n.long 4, 4, 4\n.asciz \"Go\"\n.byte 0\n.long 0\n.popsection");
#endif

/* Ends with success without any function of the C library. */
static void raw(void)
{
#ifdef __x86_64__
    __asm__ volatile("syscall" : : "a"(SYS_exit_group), "D"(0));
#else
    register long number __asm__("x8") = SYS_exit_group, code __asm__("x0") = 0;
    __asm__ volatile("svc #0" : : "r"(number), "r"(code));
#endif
}

#ifdef LIBRARY
/* With -DLIBRARY: a library that defines functions of the C library itself. */
void _Exit(int code)
{
    (void)code;
    for (;;)
        raw();
}

long syscall(long number, ...)
{
    return -number;
}

int prctl(int option, ...)
{
    return -option;
}
#else

static void *ends(void *unused)
{
    (void)unused;
    exit(0);
}

static int child(void *unused)
{
    (void)unused;
    _exit(0);
}

static volatile int caught;

static void catches(int signal)
{
    caught += signal == SIGTRAP;
}

/* Waits for a child. Returns whether it ended with exit code 0. */
static int well(pid_t child)
{
    int status = -1;
    return child > 0 && waitpid(child, &status, __WALL) == child && status == 0;
}

int main(int argc, char **argv)
{
    const char *how = argv[1];
    char *helper[] = {"true", NULL};
    static char stack[65536];
    pid_t pid = 0;
    pthread_t thread;
    sigset_t trap;
    int done = 1;
    sigemptyset(&trap);
    sigaddset(&trap, SIGTRAP);
    if (!strcmp(how, "return"))
        return 0;
    else if (!strcmp(how, "seven"))
        return 7;
    else if (!strcmp(how, "exit"))
        exit(0);
    else if (!strcmp(how, "_exit"))
        _exit(0);
    else if (!strcmp(how, "_Exit"))
        _Exit(0);
    else if (!strcmp(how, "quick_exit"))
        quick_exit(0);
    else if (!strcmp(how, "syscall"))
        syscall(SYS_exit_group, 0);
    else if (!strcmp(how, "raw"))
        raw();
    else if (!strcmp(how, "thread"))
        pthread_create(&thread, NULL, ends, NULL), pause();
    else if (!strcmp(how, "last-thread"))
        pthread_exit(NULL);
    else if (!strcmp(how, "library")) {
        /* A second copy of the C library, in a namespace of its own. It shares no memory with the first copy. */
        void *other = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
        void (*end)(int) = (void (*)(int))dlsym(other, "_exit");
        end(0);
    } else if (!strcmp(how, "undumpable")) {
        /* From here on, no process without CAP_SYS_PTRACE may change the memory of this process. */
        prctl(PR_SET_DUMPABLE, 0);
        return 0;
    } else if (!strcmp(how, "ignores-and-ends")) {
        signal(SIGTRAP, SIG_IGN);
        sigprocmask(SIG_BLOCK, &trap, NULL);
        return 0;
    } else if (!strcmp(how, "blocks-and-ends")) {
        sigprocmask(SIG_BLOCK, &trap, NULL);
        argv[1] = "return";
        execv("/proc/self/exe", argv);
    }
    /* In the ways from here on, the wrapper does not end: it executes its arguments. */
    else if (!strcmp(how, "fork")) {
        if (!(pid = fork()))
            exit(0);
        done = well(pid);
    } else if (!strcmp(how, "undumpable-forks")) {
        prctl(PR_SET_DUMPABLE, 0);
        if (!(pid = fork()))
            exit(0);
        done = well(pid);
    } else if (!strcmp(how, "fork-late")) {
        /* With SCHED_IDLE, the child runs after other processes, so that the tracer sees the fork event of the parent
         * first. */
        struct sched_param none = {0};
        sched_setscheduler(0, SCHED_IDLE, &none);
        if (!(pid = fork()))
            exit(0);
        sched_setscheduler(0, SCHED_OTHER, &none);
        done = well(pid);
    } else if (!strcmp(how, "vfork")) {
        if (!(pid = vfork()))
            _exit(0);
        done = well(pid);
    } else if (!strcmp(how, "shares")) {
        done = well(clone(child, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL));
    } else if (!strcmp(how, "spawn")) {
        done = posix_spawn(&pid, "/bin/true", NULL, NULL, helper, environ) == 0 && well(pid);
        done &= posix_spawn(&pid, "/nowhere", NULL, NULL, helper, environ) != 0;
    } else if (!strcmp(how, "outlives")) {
        /* The child calls functions that had breakpoints after its parent has become another program. */
        if (!fork()) {
            usleep(300000);
            syscall(SYS_getpid);
            close(open(getenv("ENDS_MARK"), O_CREAT | O_WRONLY, 0666));
            _exit(0);
        }
    } else if (!strcmp(how, "loads")) {
        done = dlopen("libresolv.so.2", RTLD_NOW) != NULL && syscall(SYS_getpid) == getpid();
    } else if (!strcmp(how, "signals")) {
        signal(SIGTRAP, catches);
        raise(SIGTRAP);
        done = caught == 1;
    }
    /* A breakpoint left in syscall() would end this process. */
    done &= syscall(SYS_getpid) == getpid();
    return done && argc > 2 ? execv(argv[2], argv + 2) : 99;
}
#endif
