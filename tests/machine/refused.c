/* For the guest: makes system calls that the sandbox of the units refuses, and some that it allows. Each is made with
   arguments that the kernel itself would not answer with EPERM, if the process has every capability. Prints a line for
   each: its name and the error's, or 'done'.

   refused        all of them
   refused i386   one of another architecture, after which it may be killed */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
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

int main(int count, char **arguments)
{
    static char none[64];
    if (count > 1 && strcmp(arguments[1], "i386") == 0) {
#ifdef __x86_64__
        long result;
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L /* getpid */) : "memory", "r8", "r9", "r10", "r11");
        printf("i386 %s\n", result > 0 ? "done" : "refused");
#endif
        return 0;
    }

    /* What an import needs. */
    say("open", openat(AT_FDCWD, "/proc/self/status", O_RDONLY | O_CLOEXEC));
    say("vsock", socket(40 /* AF_VSOCK */, SOCK_STREAM, 0));
    TRY(mount, none, "/nowhere", none, 0, none);

    /* Processes and what they may look at. */
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

    /* Namespaces. */
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

    /* The kernel and the machine. */
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

    /* Users, keys, and shared memory. */
    TRY(setuid, 0);
    TRY(setgroups, 0L, none);
    TRY(keyctl, -1, 0L, 0L, 0L, 0L);
    TRY(add_key, "nothing", "nothing", none, 0L, 0);
    TRY(request_key, "nothing", "nothing", none, 0);
    TRY(shmget, 0, 4096L, 01600);
    TRY(msgget, 0, 01600);
    TRY(semget, 0, 1, 01600);

    /* Sockets other than streams to the host, and those that listen. */
    say("inet", socket(AF_INET, SOCK_STREAM, 0));
    say("inet6", socket(AF_INET6, SOCK_STREAM, 0));
    say("unix", socket(AF_UNIX, SOCK_STREAM, 0));
    say("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
    say("packet", socket(17 /* AF_PACKET */, SOCK_RAW, 0));
    TRY(bind, -1, none, 0);
    TRY(listen, -1, 0);
    TRY(accept, -1, none, none);

    /* Files that would run with another user's rights, devices, and memory that is executable. */
    int file = openat(AT_FDCWD, "/run/refused", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    say("fchmod_600", fchmod(file, 0600));
    say("fchmod_suid", fchmod(file, 04700));
    say("open_suid", openat(AT_FDCWD, "/run/refused-suid", O_CREAT | O_WRONLY | O_CLOEXEC, 04700));
    say("mkdir_sgid", mkdirat(AT_FDCWD, "/run/refused-sgid", 02700));
    TRY(mknodat, AT_FDCWD, "/run/refused-node", S_IFCHR | 0600, 0x103);
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    say("mprotect_exec", mprotect(page, 4096, PROT_READ | PROT_EXEC));
    puts("end");
    return 0;
}
