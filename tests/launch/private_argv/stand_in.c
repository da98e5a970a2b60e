/* A stand-in for a hypervisor: reports what it was started with, on standard output, and then waits for the end of
 * standard input, or for a signal. Each line of the report is NAME=VALUE
 * with a NUL at its end; NULs within the content of a file become spaces. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Options of the hypervisors that this program stands in for: smbios-creds-host refuses a program without them. */
__attribute__((used)) static const char options[] = "oem_strings oem-strings";

static void line(const char *name, const char *value) { printf("%s=%s%c", name, value, 0); }

static void number(const char *name, unsigned long value) { printf("%s=%lu%c", name, value, 0); }

static void file(const char *name, const char *path)
{
    char bytes[65536];
    FILE *in = fopen(path, "r");
    size_t size = in ? fread(bytes, 1, sizeof bytes - 1, in) : 0;
    for (size_t i = 0; i < size; i++)
        if (bytes[i] == 0)
            bytes[i] = ' ';
    bytes[size] = 0;
    line(name, bytes);
    if (in)
        fclose(in);
}

/* Executes a program with the private argument in its arguments or environment, which a hypervisor must not do. Any
 * other `how` starts a helper without the argument. */
static void again(const char *how, char **argv)
{
    static char variable[200000];
    char *helper[] = {"true", NULL}, *variables[] = {variable, NULL};
    pid_t child;
    unsetenv("STAND_IN_AGAIN");
    snprintf(variable, sizeof variable, "PART=%.100000s", argv[2]);
    if (!strcmp(how, "itself"))
        execv("/proc/self/exe", argv);
    else if (!strcmp(how, "child"))
        posix_spawn(&child, "/proc/self/exe", NULL, NULL, argv, environ);
    else if (!strcmp(how, "variable"))
        posix_spawn(&child, "/bin/true", NULL, NULL, helper, variables);
    else
        posix_spawn(&child, "/bin/true", NULL, NULL, helper, environ);
    wait(NULL);
}

int main(int argc, char **argv)
{
    char text[4096];
    const char *mark = getenv("STAND_IN_MARK");
    /* A wrapper may execute the hypervisor with --help first, and then with the private argument. */
    if (argc == 2 && !strcmp(argv[1], "--help"))
        return 0;
    /* The file shows the tests that this program ran. */
    if (mark)
        fclose(fopen(mark, "w"));
    if (getenv("STAND_IN_AGAIN"))
        again(getenv("STAND_IN_AGAIN"), argv);
    if (getenv("STAND_IN_SIGNAL"))
        raise(atoi(getenv("STAND_IN_SIGNAL")));
    /* KVM_CREATE_VM */
    if (getenv("STAND_IN_KVM") && ioctl(open("/dev/kvm", O_RDWR | O_CLOEXEC), 0xae01, 0) < 0)
        return 3;
    number("alignment", (unsigned long)(uintptr_t)&argv[-1] % 16);
    for (int i = 0; i < argc; i++) {
        line("argument", argv[i]);
        if (!strncmp(argv[i], "file=", 5))
            file("content", argv[i] + 5);
    }
    line("terminator", argv[argc] ? "missing" : "null");
    for (char **variable = environ; *variable; variable++)
        line("variable", *variable);
    line("execfn", (const char *)getauxval(AT_EXECFN));
    line("platform", (const char *)getauxval(AT_PLATFORM));
    number("random", ((unsigned char *)getauxval(AT_RANDOM))[0]);
    number("secure", getauxval(AT_SECURE));
    number("page", getauxval(AT_PAGESZ));
    number("pid", getpid());
    number("parent", getppid());
    number("uid", geteuid());
    number("dumpable", prctl(PR_GET_DUMPABLE));
    line("folder", getcwd(text, sizeof text));
    file("cmdline", "/proc/self/cmdline");
    file("status", "/proc/self/status");
    file("limits", "/proc/self/limits");
    snprintf(text, sizeof text, "/proc/self/task/%d/children", getpid());
    file("children", text);
    DIR *descriptors = opendir("/proc/self/fd");
    for (struct dirent *entry; (entry = readdir(descriptors));)
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(descriptors))
            line("descriptor", entry->d_name);
    closedir(descriptors);
    /* The stack below the moved arguments must be usable. */
    volatile char deep[65536];
    memset((char *)deep, 1, sizeof deep);
    number("deep", deep[sizeof deep - 1]);
    line("end", "");
    fflush(stdout);
    while (read(0, text, sizeof text) > 0)
        ;
    /* As a service, this program has no standard input, and waits for a signal. */
    if (getenv("STAND_IN_STAYS"))
        pause();
    return 42;
}
