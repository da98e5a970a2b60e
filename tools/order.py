#!/usr/bin/env python3
"""Writes link/import.ld: the functions of the agent that an import runs, for the linker to put next to each other.

Builds the static agent with its symbols, runs imports under valgrind's callgrind, and looks up in the linker's map in which
sections the functions are that ran. `./do order` starts it. It needs valgrind, and namespaces for mounts (unshare(1)).
"""

import collections
import pathlib
import platform
import re
import struct
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "link/import.ld"
MACHINE = platform.machine()

# Sections that the measured imports do not run: valgrind hides the hypervisor and the vDSO, and PID 1's environment cannot be read.
ONLY_IN_A_MACHINE = [
    "*(.text._ZN12smbios_creds5guest8platform*)",
    "*(.text._RI*NtCs*_3std2io19default_read_to_end*)",
    "*(.text._ZN6memchr4arch6x86_646memchr10memchr_raw*)",
    "*(.text.strcmp)",
]

# The functions that every program runs at its start and at its end. GNU ld's own script puts the first two before and behind
# all other functions. callgrind does not show the third, which ends the process.
START_AND_END = ["KEEP (*(SORT_NONE(.init)))", "KEEP (*(SORT_NONE(.fini)))", "*(.text._Exit)"]

# What the function before `main` runs only if it could lock the memory, which it cannot in the namespace of the measured
# imports.
AFTER_LOCKING = [
    "*(.text._ZN6region4lock6unlock*)",
    "*(.text._ZN6region4util*)",
    "*(.text._ZN6region2os4unix*)",
    "*(.text._ZN6region4page*)",
    "*(.text._ZN3std4sync4once4Once9call_once28_$u7b$$u7b$closure$u7d$$u7d$17h*E)",
    "*(.text.munlock)",
    "*(.text.sysconf)",
]

# Replaces the running system's directories, in a mount namespace of its own: $1 is the agent, $2 a table, $3 the files that
# systemd has imported or "", $4 is 1 in the initrd or else 0, and the rest the command that runs the agent.
SYSTEM = """
set -e
agent=$1 table=$2 imported=$3
export SYSTEMD_IN_INITRD=$4
shift 4
mount -t tmpfs tmpfs /run
if [ -n "$imported" ]; then
    mkdir -p /run/systemd/system /run/credentials/@system
    mount -t tmpfs -o mode=0700 tmpfs /run/credentials/@system
    cp "$imported"/* /run/credentials/@system
    chmod 0400 /run/credentials/@system/*
    mount -o remount,ro /run/credentials/@system
fi
mount -t tmpfs tmpfs /sys/firmware
mkdir -p /sys/firmware/dmi/tables
cp "$table"/* /sys/firmware/dmi/tables
exec "$@" "$agent" import --allow-none
"""


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def build(directory):
    """Builds the static agent with its symbols. Returns its path, and the path of the linker's map of its sections."""
    target = f"{MACHINE}-unknown-linux-musl"
    linker_map = directory / "map"
    run("cargo", "rustc", "--quiet", "--locked", "--release", "--bin", "smbios-creds", "--target", target,
        "--config", "profile.release.strip=false", "--target-dir", "target/order", "--",
        f"-Clink-arg=-Wl,-Map={linker_map}", cwd=ROOT)
    return ROOT / "target/order" / target / "release/smbios-creds", linker_map


def sections(linker_map):
    """Returns address, size and pattern of each section with code. A pattern matches the section also in another build,
    because it has no hashes, neither those of Rust's legacy names nor those of crates."""
    found, name = [], None
    for line in linker_map.read_text().splitlines():
        alone = re.fullmatch(r" (\.text\S*)", line)
        if alone:
            name = alone[1]
            continue
        entry = re.fullmatch(r" (\.text\S*)?\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)\s+(\S.*)", line)
        if entry and (entry[1] or name) and int(entry[3], 16):
            found.append((int(entry[2], 16), int(entry[3], 16), pattern(entry[1] or name, entry[4])))
        name = None
    return sorted(found)


def pattern(section, file):
    if section == ".text":
        # In an object file of the C library, all functions are in one section, so the pattern has the name of the file.
        return f"*{re.search(r'([^(/]+?)[)]?$', file)[1]}(.text)"
    section = re.sub(r"17h[0-9a-f]{16}E", "17h*E", section)
    section = re.sub(r"Cs[0-9A-Za-z]{8,14}_", "Cs*_", section)
    return f"*({re.sub(r'[.][0-9]+$', '*', section)})"


def plain_table(directory, count, size):
    """Writes a recorded table of QEMU, with a structure of `count` credentials of `size` bytes before it (DSP0134 7.12)."""
    directory.mkdir()
    strings = [b"io.systemd.credential:c%d=%s" % (number, b"x" * size) for number in range(count)]
    table = struct.pack("<BBHB", 11, 5, 0x0B00, count) + b"".join(string + b"\0" for string in strings) + b"\0"
    table += (ROOT / "testdata/qemu-7.2-none/DMI").read_bytes()
    entry_point = bytearray(struct.pack("<5sBBBBBBBIQ", b"_SM3_", 0, 24, 3, 2, 0, 1, 0, len(table), 0x1000))
    entry_point[5] = -sum(entry_point) & 0xFF
    (directory / "DMI").write_bytes(table)
    (directory / "smbios_entry_point").write_bytes(entry_point)


def addresses(profile, names):
    """Returns the addresses of all instructions that ran, by function. `names` has the names of functions by their numbers, which
    are the same in all profiles of one run."""
    ran, function = collections.defaultdict(set), None
    for line in profile.read_text().splitlines():
        called = re.match(r"fn=(\(\d+\))(?: (.*))?", line)
        if called:
            names.setdefault(called[1], called[2])
            function = names[called[1]]
        elif named := re.match(r"cfn=(\(\d+\)) (.*)", line):
            names.setdefault(named[1], named[2])
        elif line.startswith("0x"):
            ran[function].add(int(line.split()[0], 16))
    return ran


def sections_that_ran(ran, symbols, code):
    """Returns the patterns of the sections with the instructions that ran."""
    start = base(ran, symbols)
    # callgrind gives some addresses relative to the program file, not as loaded.
    all_addresses = {address - start if address >= start else address for function in ran.values() for address in function}
    return {pattern for begin, size, pattern in code if any(begin <= address < begin + size for address in all_addresses)}


def base(ran, symbols):
    """Returns the address at which valgrind loaded the program: the most common distance between the lowest address of a
    function that ran and the function's symbol."""
    return collections.Counter(min(ran[name]) - symbols[name] for name in ran if name in symbols).most_common(1)[0][0]


def flows(agent, directory):
    """Returns each import's table, systemd's files and stage (1: initrd), the most usual import first. If systemd has imported
    everything: without a manifest and with one, each after switch-root and in the initrd. Then the same without systemd."""
    plain, proven, sent, imported = (directory / name for name in ("plain", "proven", "sent", "imported"))
    plain_table(plain, 16, 44)
    sent.mkdir()
    for number in range(16):
        (sent / f"c{number}").write_bytes(b"x" * 44)
    proven.mkdir()
    run("cargo", "run", "--quiet", "--locked", "--example", "vmm", "--", sent, proven, cwd=ROOT)
    run(agent, "import", "--log-level=error", "--from", plain, "--into", imported)
    by_systemd = [(table, imported, stage) for table in (plain, proven) for stage in (0, 1)]
    return by_systemd + [(table, "", 0) for table in (plain, proven)]


def main():
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        agent, linker_map = build(directory)
        symbols = {}
        for line in run("nm", agent).splitlines():
            address, kind, name = line.rsplit(maxsplit=2) if line[0] != " " else ("", "", "")
            if kind in ("t", "T", "w", "W"):
                symbols[name] = int(address, 16)
        code, before_main, patterns = sections(linker_map), [], []
        for table, imported, stage in flows(agent, directory):
            profile = directory / "profile"
            run("unshare", "--mount", "--map-root-user", "sh", "-c", SYSTEM, "sh", agent, table, imported, stage,
                "valgrind", "--log-file=/dev/null", "--tool=callgrind", "--dump-instr=yes", "--compress-pos=no", "--demangle=no",
                "--dump-before=main", f"--callgrind-out-file={profile}", stderr=subprocess.DEVNULL)
            names = {}
            first = sections_that_ran(addresses(profile.with_suffix(".1"), names), symbols, code)
            rest = sections_that_ran(addresses(profile, names), symbols, code)
            # The function before `main` locks the memory while no other code is mapped. It then excludes the code.
            before_main += sorted(first.difference(before_main))
            # An import maps no page that only less usual imports need.
            patterns += sorted(rest.difference(patterns))
        patterns = [pattern for pattern in patterns if pattern not in before_main]
    lines = "".join(f"    {pattern}\n" for pattern in [*START_AND_END, *AFTER_LOCKING, *before_main, *ONLY_IN_A_MACHINE, *patterns])
    SCRIPT.write_text(f"""/* Puts the functions that an import runs next to each other, so that fewer pages of the program are read.
   Made by ./do order. An addition to GNU ld's own script. */
SECTIONS {{
  .text.import : {{
{lines}  }}
}}
INSERT BEFORE .text;
""")


if __name__ == "__main__":
    main()
