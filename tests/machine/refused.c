/* Makes system calls that the sandbox of the units or the agent's filter refuses, and some that both allow. Each call
   is made with arguments that the kernel itself would not answer with EPERM, if the process has every capability. The
   program prints a line for each call: the call's name, and the error's name or 'done'. It makes files in the working
   directory.

   refused        makes all calls
   refused own    makes the calls that the agent's filter refuses, which need no capability
   refused i386   makes one call of another architecture (i386), for which the kernel may kill the program
   refused x32    makes one call of the x32 ABI

   If $FILTER names a file with a filter for seccomp(2), the program sets the filter first. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void say(const char *name, long result)
{
    printf("%s %s\n", name, result == -1 ? strerrorname_np(errno) : "done");
    fflush(stdout);
}

#define TRY(name, ...) say(#name, syscall(SYS_##name, __VA_ARGS__))

static void child(const char *name, unsigned long flags)
{
    long pid = syscall(SYS_clone, flags | 17 /* SIGCHLD */, 0L, 0L, 0L, 0L);
    if (pid == 0)
        _exit(0);
    say(name, pid);
}

static int filter(const char *path)
{
    static struct sock_filter program[256];
    FILE *file = fopen(path, "rb");
    if (!file)
        return -1;
    struct sock_fprog all = { fread(program, sizeof *program, 256, file), program };
    fclose(file);
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &all);
}

/* Tries each call that makes a set-user-ID or set-group-ID file, and the same calls without these mode bits. */
static void set_id(void)
{
    struct open_how how = { .flags = O_RDONLY };
    int file = openat(AT_FDCWD, "refused", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    say("fchmod_600", fchmod(file, 0600));
    say("fchmod_suid", fchmod(file, 04700));
    say("fchmod_sgid", fchmod(file, 02700));
    TRY(fchmodat, AT_FDCWD, "refused", 04700);
    say("fchmodat2", syscall(452, AT_FDCWD, "refused", 02700, 0));
    say("openat_suid", openat(AT_FDCWD, "refused-openat", O_CREAT | O_WRONLY | O_CLOEXEC, 04700));
    say("openat_sgid", openat(AT_FDCWD, "refused-openat", O_CREAT | O_WRONLY | O_CLOEXEC, 02700));
    say("openat_unnamed", syscall(SYS_openat, AT_FDCWD, ".", O_TMPFILE | O_WRONLY, 04700));
    /* These calls create nothing, so the kernel ignores their mode. */
    say("openat_existing", syscall(SYS_openat, AT_FDCWD, "refused", O_RDONLY, 04700));
    say("openat_directory", syscall(SYS_openat, AT_FDCWD, ".", O_RDONLY | O_DIRECTORY, 04700));
    TRY(openat2, AT_FDCWD, ".", &how, sizeof how);
    say("mkdirat_suid", mkdirat(AT_FDCWD, "refused-mkdirat", 04700));
    say("mkdirat_sgid", mkdirat(AT_FDCWD, "refused-mkdirat-2", 02700));
    say("mkdirat_700", mkdirat(AT_FDCWD, "refused-700", 0700));
    TRY(mknodat, AT_FDCWD, "refused-mknodat", S_IFREG | 04700, 0);
#ifdef SYS_open
    say("open_suid", syscall(SYS_open, "refused-open", O_CREAT | O_WRONLY, 04700));
    say("open_existing", syscall(SYS_open, "refused", O_RDONLY, 04700));
    TRY(creat, "refused-creat", 04700);
    TRY(chmod, "refused", 02700);
    TRY(mkdir, "refused-mkdir", 02700);
    TRY(mknod, "refused-mknod", S_IFREG | 04700, 0);
#endif
}

/* Tries a vsock stream, as to the host, and sockets of other families. */
static void sockets(void)
{
    say("vsock", socket(40 /* AF_VSOCK */, SOCK_STREAM, 0));
    say("inet", socket(AF_INET, SOCK_STREAM, 0));
    say("inet6", socket(AF_INET6, SOCK_STREAM, 0));
    say("unix", socket(AF_UNIX, SOCK_STREAM, 0));
    say("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
}

int main(int count, char **arguments)
{
    static char none[64];
    const char *which = count > 1 ? arguments[1] : "";
    umask(0);
    if (getenv("FILTER") && filter(getenv("FILTER")) != 0) {
        perror("filter");
        return 1;
    }
    if (strcmp(which, "i386") == 0) {
#ifdef __x86_64__
        long result;
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L /* getpid */) : "memory", "r8", "r9", "r10", "r11");
        printf("i386 %s\n", result > 0 ? "done" : "refused");
#endif
        return 0;
    }
    if (strcmp(which, "x32") == 0) {
#ifdef __x86_64__
        say("x32", syscall(0x40000000 | SYS_getpid));
#endif
        return 0;
    }
    if (strcmp(which, "own") == 0) {
        set_id();
        sockets();
        TRY(io_uring_setup, 0, none);
        puts("end");
        return 0;
    }

    /* Calls that an import needs. */
    say("open", openat(AT_FDCWD, "/proc/self/status", O_RDONLY | O_CLOEXEC));
    TRY(mount, none, "/nowhere", none, 0, none);

    /* Calls that look into processes or change how they run. */
    TRY(ptrace, 16 /* PTRACE_ATTACH */, -1, 0, 0);
    TRY(process_vm_readv, getpid(), none, 0L, none, 0L, 0L);
    TRY(process_vm_writev, getpid(), none, 0L, none, 0L, 0L);
    TRY(kcmp, getpid(), getpid(), 0, 0, 0);
    TRY(pidfd_getfd, -1, 0, 0);
    TRY(perf_event_open, none, 0, -1, -1, 0L);
    TRY(userfaultfd, -1);
    TRY(bpf, -1, none, 0);
    TRY(io_uring_setup, 0, none);
    TRY(personality, 8 /* PER_LINUX32 */);
    TRY(sched_setscheduler, 0, 1 /* SCHED_FIFO */, none);

    /* Calls that start processes, or change namespaces, the root directory or mounts. */
    TRY(unshare, CLONE_NEWUTS);
    TRY(setns, -1, 0);
    child("clone", 0);
    child("clone_newns", CLONE_NEWNS);
    child("clone_newuser", CLONE_NEWUSER);
    TRY(clone3, none, 0L);
    TRY(pivot_root, "/nowhere", "/nowhere");
    TRY(chroot, "/nowhere");
    TRY(open_tree, -1, "/nowhere", 1);
    TRY(fsopen, "nothing", 0);
    TRY(move_mount, -1, "/nowhere", -1, "/nowhere", 0);

    /* Calls that change the kernel or the machine. */
    TRY(init_module, none, 0L, none);
    TRY(finit_module, -1, none, 0);
    TRY(delete_module, "nothing", 0);
    TRY(kexec_load, 0L, 1000L, none, 0L);
    TRY(reboot, 0, 0, 0, 0L);
    TRY(clock_settime, -100, none);
    TRY(settimeofday, 8L, 8L);
    TRY(adjtimex, 8L);
    TRY(swapon, "/nowhere", 0);
    TRY(swapoff, "/nowhere");
    TRY(acct, "/nowhere");
    TRY(quotactl, -1, "/nowhere", 0, none);
    TRY(syslog, -1, 0L, 0);
    TRY(sethostname, none, -1);
#ifdef SYS_iopl
    TRY(iopl, 9);
    TRY(ioperm, 0L, -1L, 0);
#endif
    TRY(fanotify_init, -1, -1);
    TRY(open_by_handle_at, -1, none, 0);

    /* Calls that change users, and calls for keys and System V IPC. */
    TRY(setuid, 0);
    TRY(setgroups, 0L, none);
    TRY(keyctl, -1, 0L, 0L, 0L, 0L);
    TRY(add_key, "nothing", "nothing", none, 0L, 0);
    TRY(request_key, "nothing", "nothing", none, 0);
    TRY(shmget, 0, 4096L, 01600);
    TRY(msgget, 0, 01600);
    TRY(semget, 0, 1, 01600);

    /* Sockets, and calls by which a socket listens. */
    sockets();
    say("packet", socket(17 /* AF_PACKET */, SOCK_RAW, 0));
    TRY(bind, -1, none, 0);
    TRY(listen, -1, 0);
    TRY(accept, -1, none, none);

    /* Set-user-ID files, devices, and memory that becomes executable. */
    set_id();
    say("mknodat_device", mknodat(AT_FDCWD, "refused-device", S_IFCHR | 0600, 0x103));
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    say("mprotect_exec", mprotect(page, 4096, PROT_READ | PROT_EXEC));
    puts("end");
    return 0;
}
