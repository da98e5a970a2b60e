/* A minimal import, which the agent is measured against: reads both files, walks the table, decodes
   base64, writes files with mode 0400 into a new directory next to INTO, and renames the directory to INTO. It
   verifies nothing, protects nothing and prints nothing. It checks limits before every access, because the comparison
   needs a program that does not crash.

   Usage: floor FROM INTO */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned char table[1 << 21], value[1 << 20];

static ssize_t slurp(const char *folder, const char *name, unsigned char *to, size_t room)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return -1;
    size_t size = 0;
    for (ssize_t n; size < room && (n = read(file, to + size, room - size)) > 0;)
        size += (size_t)n;
    close(file);
    return (ssize_t)size;
}

static int digit(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static size_t decode(const unsigned char *text, size_t length)
{
    size_t size = 0;
    unsigned bits = 0, have = 0;
    for (size_t i = 0; i < length && text[i] != '='; i++) {
        int six = digit(text[i]);
        if (six < 0)
            return 0;
        bits = bits << 6 | (unsigned)six;
        if ((have += 6) >= 8)
            value[size++] = (unsigned char)(bits >> (have -= 8));
    }
    return size;
}

static int put(int folder, const unsigned char *string, size_t length)
{
    static const char prefix[] = "io.systemd.credential.binary:";
    size_t skip = sizeof prefix - 1;
    if (length <= skip || memcmp(string, prefix, skip))
        return 0;
    const unsigned char *name = string + skip, *equals = memchr(name, '=', length - skip);
    if (!equals || equals - name > 255 || memchr(name, '/', (size_t)(equals - name)))
        return 0;
    char path[256] = "";
    memcpy(path, name, (size_t)(equals - name));
    size_t size = decode(equals + 1, (size_t)(string + length - equals - 1));
    int file = openat(folder, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
    if (file < 0 || write(file, value, size) != (ssize_t)size)
        return 1;
    return close(file);
}

int main(int count, char **arguments)
{
    char beside[4096];
    unsigned char entry[32];
    if (count != 3)
        return 2;
    ssize_t size = slurp(arguments[1], "DMI", table, sizeof table - 2);
    if (slurp(arguments[1], "smbios_entry_point", entry, sizeof entry) < 24 || size < 0)
        return 1;
    snprintf(beside, sizeof beside, "%s.new", arguments[2]);
    if (mkdir(beside, 0700))
        return 1;
    int folder = open(beside, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (const unsigned char *at = table, *end = table + size; end - at >= 6 && at[1] >= 4 && at[0] != 127;) {
        const unsigned char *string = at + at[1], *stop;
        int wanted = at[0] == 11;
        for (; string < end && *string; string = stop + 1) {
            stop = memchr(string, 0, (size_t)(end - string));
            if (!stop)
                return 1;
            if (wanted && put(folder, string, (size_t)(stop - string)))
                return 1;
        }
        /* Two NUL bytes end an empty set of strings. One NUL byte after the last string ends any other set. */
        at = string + (string == at + at[1] ? 2 : 1);
    }
    return rename(beside, arguments[2]) != 0;
}
