#!/usr/bin/env python3
"""Measures what the programs cost, and writes a table and plots. ./benches/run prepares what it needs and starts it."""

import argparse
import collections
import concurrent.futures
import datetime
import filecmp
import gzip
import itertools
import json
import lzma
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import tempfile

import compare

ROOT = pathlib.Path(__file__).resolve().parent.parent
BENCHES = ROOT / "benches"
TARGET = ROOT / "target"
BUILT = TARGET / "benches"
AGENT = TARGET / "vm/smbios-creds"
HOST = TARGET / "vm/smbios-creds-host"
PAGE = ROOT / "docs/benchmarks.md"
BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"

COUNTS = [1, 16, 100, 255]
SIZES = [44, 256, 4096]
# Number of credentials, and bytes of each, in the detailed measurements.
CLOSE = (16, 256)
# Size in bytes of the largest table that the agent reads.
TABLE_MAX = 1_048_576 + 65_536


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True, **options).stdout


class Table:
    """A recording of a table with credentials of random bytes, made by the example for a VMM."""

    def __init__(self, scratch, count, size):
        self.count, self.size = count, size
        self.values = scratch / f"values-{count}-{size}"
        self.folder = scratch / f"table-{count}-{size}"
        self.dump = scratch / f"dump-{count}-{size}"
        self.values.mkdir()
        self.folder.mkdir()
        for number in range(count):
            (self.values / f"credential-{number}").write_bytes(os.urandom(size))
        run(BUILT / "vmm", self.values, self.folder)
        self.data = (self.folder / "DMI").read_bytes()
        self.write_dump()

    def write_dump(self):
        """Writes the table as a dump of dmidecode: the entry point, which says that the table is at offset 32, and the table."""
        entry = bytearray((self.folder / "smbios_entry_point").read_bytes())
        entry[16:24] = (32).to_bytes(8, "little")
        entry[5] = 0
        entry[5] = -sum(entry) % 256
        self.dump.write_bytes(bytes(entry).ljust(32, b"\0") + (self.folder / "DMI").read_bytes())

    def cut(self):
        """Cuts the table in the middle of the last value, as firmware may do."""
        end = self.data.rindex(b"io.systemd.credential.binary:") + 29 + self.size // 2
        (self.folder / "DMI").write_bytes(self.data[:end])
        self.write_dump()

    def compare(self, into):
        """Returns how many files hold the sent value, and how many hold something else."""
        equal = wrong = 0
        for path in into.iterdir() if into.is_dir() else []:
            sent = self.values / path.name
            if sent.exists() and filecmp.cmp(path, sent, shallow=False):
                equal += 1
            else:
                wrong += 1
        return equal, wrong


def contenders(table, into):
    return {
        "smbios-creds": [AGENT, "import", "--log-level", "error", "--from", table.folder, "--into", into],
        "C floor": [BUILT / "floor", table.folder, into],
        "dmidecode + sh": [BENCHES / "dmidecode.sh", table.dump, into],
        "busybox sh": [BENCHES / "busybox.sh", table.folder, into],
    }


# An entry for each command of each measurement: half the interquartile range of the medians of the command's turns,
# as a share of their median.
SPREADS = []


def spread(turns):
    """Returns the entry of SPREADS for the medians of one command."""
    if len(turns) < 2:
        return compare.NOISE
    low, middle, high = statistics.quantiles(turns, n=4)
    return (high - low) / 2 / middle


def hyperfine(commands, into, runs, scratch):
    """Returns the median seconds of each command; `into` is removed before every run. The commands take turns, so that
    other load on the machine affects all of them alike."""
    report = scratch / "hyperfine.json"
    turns = max(1, min(10, runs // 5))
    words = ["hyperfine", "--shell=none", "--warmup=2", f"--runs={-(-runs // turns)}", "--ignore-failure",
             "--style=none", f"--export-json={report}"]
    if into:
        words.append(f"--prepare=rm -rf {into} {into}.new")
    times = [[] for _ in commands]
    medians = [[] for _ in commands]
    for _ in range(turns):
        run(*words, *(" ".join(str(word) for word in command) for command in commands))
        for all_times, of_turns, result in zip(times, medians, json.loads(report.read_text())["results"], strict=True):
            all_times += result["times"]
            of_turns.append(statistics.median(result["times"]))
    SPREADS.extend(map(spread, medians))
    return [statistics.median(all_times) for all_times in times]


def system_calls(command, into, scratch):
    """Every system call of a command and its children, in order."""
    remove(into)
    log = scratch / "strace"
    subprocess.run(["strace", "-f", "-qq", "-o", log, *map(str, command)], capture_output=True, check=False)
    # A call that another process interrupts has two lines, one of them '<... NAME resumed>'.
    return [line.split(None, 1)[1] for line in log.read_text(errors="replace").splitlines()
            if re.match(r"\d+ +\w+\(", line)]


def instructions(command, into, scratch):
    """Instructions in user space, of a command and its children, counted by callgrind."""
    remove(into)
    out = scratch / "callgrind"
    words = ["valgrind", "--tool=callgrind", "--trace-children=yes", f"--callgrind-out-file={out}.%p", *map(str, command)]
    text = subprocess.run(words, capture_output=True, check=False, text=True, errors="replace").stderr
    for file in scratch.glob("callgrind.*"):
        file.unlink()
    return sum(int(number.replace(",", "")) for number in re.findall(r"Collected : ([\d,]+)", text))


def purpose(calls):
    """Counts the agent's system calls by purpose. A call on a descriptor has the purpose of the call that opened it."""
    memory = {"mmap", "munmap", "brk", "mprotect", "mremap", "madvise"}
    protection = {"prlimit64", "prctl", "capget", "mlockall", "munlock", "umask", "setrlimit", "getrlimit"}
    start = {"execve", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "poll", "rt_sigaction", "sigaltstack",
             "rt_sigprocmask", "exit_group", "getrandom", "readlinkat", "readlink", "sched_getaffinity"}
    purposes, files = collections.Counter(), {}
    for call in calls:
        name, rest = call.split("(", 1)
        first = rest.split(",")[0].split(")")[0]
        is_open = name in {"open", "openat", "openat2"}
        if name in memory:
            what = "memory (mmap, brk)"
        elif name in protection:
            what = "hardening of the process"
        elif name in start:
            what = "start and end"
        elif is_open and re.search(r'/(DMI|smbios_entry_point)"', rest):
            what = "reading the table"
        elif is_open and "O_CREAT" in rest:
            what = "writing credentials"
        elif first in {"1", "2"}:
            what = "messages"
        elif not is_open and first in files:
            what = files[first]
        else:
            what = "putting in place"
        opened = re.search(r"\) += (\d+)$", call)
        if is_open and opened:
            files[opened[1]] = what
        if name == "close":
            files.pop(first, None)
        purposes[what] += 1
    return purposes


def remove(into):
    for path in (into, pathlib.Path(f"{into}.new")):
        shutil.rmtree(path, ignore_errors=True)


def milliseconds(seconds):
    return f"{seconds * 1000:.2f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"


def markdown(headings, rows):
    lines = [headings, ["---"] + ["--:"] * (len(headings) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def measure_import(scratch, into, runs):
    """Measures (a): the time of an import for every count and size, and how many credentials arrive."""
    results = []
    for size in SIZES:
        for count in COUNTS:
            table = Table(scratch, count, size)
            if len(table.data) > TABLE_MAX:
                continue
            commands = contenders(table, into)
            # The shell scripts need seconds for many credentials, so they run less often.
            few = max(3, runs // 5) if count >= 100 else runs
            times = hyperfine([*commands.values(), ["/bin/true"]], into, few, scratch)
            arrived = []
            for command in commands.values():
                remove(into)
                subprocess.run(list(map(str, command)), capture_output=True, check=False)
                arrived.append(table.compare(into)[0])
            results.append({"count": count, "size": size, "table": len(table.data),
                            "names": [*commands, "/bin/true"], "times": times, "arrived": arrived})
    return results


def measure_damage(scratch, into):
    """Measures what each program imports from a table that ends in the middle of its last value."""
    table = Table(scratch / "cut", *CLOSE)
    table.cut()
    results = []
    for name, command in contenders(table, into).items():
        remove(into)
        exit_code = subprocess.run(list(map(str, command)), capture_output=True, check=False).returncode
        equal, wrong = table.compare(into)
        results.append({"name": name, "equal": equal, "wrong": wrong, "missing": table.count - equal - wrong,
                        "exit": exit_code})
    return results


def measure_close(scratch, into, runs):
    """System calls, instructions and time of the agent and the floor, less those of an empty program of each kind."""
    table = Table(scratch / "close", *CLOSE)
    commands = contenders(table, into)
    pairs = {"smbios-creds": [BUILT / "empty-rust"], "C floor": [BUILT / "empty-c"]}
    times = hyperfine([*(commands[name] for name in pairs), *pairs.values()], into, runs, scratch)
    results = {}
    for index, (name, empty) in enumerate(pairs.items()):
        calls = system_calls(commands[name], into, scratch)
        nothing = system_calls(empty, into, scratch)
        results[name] = {
            "calls": len(calls), "empty_calls": len(nothing), "purposes": dict(purpose(calls)),
            "empty_purposes": dict(purpose(nothing)),
            "instructions": instructions(commands[name], into, scratch),
            "empty_instructions": instructions(empty, into, scratch),
            "time": times[index], "empty_time": times[index + len(pairs)],
        }
    return results


def measure_scaling(scratch, into, runs):
    """Measures (b): time and instructions for tables of 4 to 64 KB, and fits a line to each."""
    points = []
    for kilobytes in [4, 8, 16, 24, 32, 40, 48, 56, 64]:
        # A credential of 256 bytes takes somewhat more than 390 bytes of a table.
        table = Table(scratch / "scaling", max(1, kilobytes * 1024 // 404), 256)
        command = contenders(table, into)["smbios-creds"]
        [time] = hyperfine([command], into, runs, scratch)
        points.append({"bytes": len(table.data), "time": time, "instructions": instructions(command, into, scratch)})
    return {"points": points, "time": fit(points, "time"), "instructions": fit(points, "instructions")}


def fit(points, key):
    xs, ys = [point["bytes"] for point in points], [point[key] for point in points]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys)) / sum((x - mean_x) ** 2 for x in xs)
    start = mean_y - slope * mean_x
    rest = sum((y - start - slope * x) ** 2 for x, y in zip(xs, ys))
    return {"start": start, "slope": slope, "r2": 1 - rest / sum((y - mean_y) ** 2 for y in ys)}


def program(path, content, mode=0o755):
    path.write_bytes(content)
    path.chmod(mode)
    return path


def measure_run(scratch, runs):
    """Measures (c): smbios-creds-host starts a program that does nothing, also through wrappers, and a hundred at once."""
    values = Table(scratch / "run", *CLOSE).values
    ours = [HOST, "run", "--log-level", "error", "--credentials", values, "--all"]
    # smbios-creds-host looks for these words in the program files of QEMU and of cloud-hypervisor.
    nothing = pathlib.Path("/bin/true").read_bytes()
    qemu = program(scratch / "qemu", nothing + b"-smbios file=binary")
    parser = program(scratch / "parser", nothing + b"oem_strings")
    script = program(scratch / "script", b'#!/bin/sh\nexport WRAPPED=yes; exec "$@"\n')
    private = [*ours, "--hypervisor=cloud-hypervisor", "--"]
    hypervisor = [parser, "--kernel", "k"]
    wrappers = {"env": ["/usr/bin/env", "WRAPPED=yes"], "a script": [script],
                "env and a script": ["/usr/bin/env", "WRAPPED=yes", script]}

    def hundred(name, command):
        words = " ".join(str(word) for word in command)
        text = f"#!/bin/sh\ni=0\nwhile [ $i -lt 100 ]; do i=$((i + 1)); {words} & done\nwait\n"
        return [program(scratch / name, text.encode())]

    commands = {
        "plain exec": hypervisor,
        "run, sealed files (QEMU)": [*ours, "--hypervisor=qemu", "--", qemu],
        "run, private argument (cloud-hypervisor)": [*private, *hypervisor],
    }
    for name, wrapper in wrappers.items():
        commands[f"plain exec, through {name}"] = [*wrapper, *hypervisor]
        commands[f"run, private argument, through {name}"] = [*private, *wrapper, *hypervisor]
    commands["a hundred at once: plain exec"] = hundred("plain", hypervisor)
    commands["a hundred at once: run, private argument"] = hundred("hundred", [*private, *hypervisor])
    for command in commands.values():
        run(*command)
    return dict(zip(commands, hyperfine(commands.values(), None, runs, scratch)))


def boot_lines(mode, seeds):
    """Returns what benches/boot.rs prints, a dictionary for each line: of the systemds that do not change, and of the newest
    if it is prepared. Several machines boot at the same time, because the load of the host does not change their clock."""
    releases = [("bookworm", {}), ("backports", {}), ("newest", {})]
    if (TARGET / "vm/sid/image").exists():
        releases.append(("newest", {"SMBIOS_CREDS_TEST_NEWEST": "1"}))

    def lines(job):
        seed, (release, environment) = job
        command = [TARGET / "debug/examples/boot", mode, str(seed), release]
        return run(*command, cwd=ROOT, env=os.environ | environment).splitlines()

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        texts = list(pool.map(lines, itertools.product(seeds, releases)))
    return [dict(word.split("=", 1) for word in line.split()) for line in itertools.chain(*texts)]


def boot_stages(seeds):
    """Returns the times of the boots with each unit, a list of microseconds for each figure: one time for each seed."""
    stages = {}
    for line in boot_lines("stages", seeds):
        row = stages.setdefault(f"{line['systemd']}, {line['stage']}", {})
        for what in ("unit", "boot"):
            row.setdefault(f"{line['variant']}.{what}", []).append(int(line[what]))
    return stages


def measure_boots(seeds):
    """Measures (d): boots by the instruction clock, with the seeds from 1 on. Boots with the first seed are repeated."""
    directives = {}
    for line in boot_lines("directives", [1]):
        directives.setdefault(line["systemd"], {})[line["service"]] = [int(time) for time in line["taken"].split(",")]
    return {"date": datetime.date.today().isoformat(), "stages": boot_stages(range(1, seeds + 1)),
            "repeated": boot_stages([1]), "directives": directives}


def measure_sizes(scratch, into):
    """Measures (e): sizes of the programs, and the most memory that an import takes."""
    agent, host = AGENT.read_bytes(), HOST.read_bytes()
    image = (TARGET / "vm/bookworm/busybox").read_bytes() if (TARGET / "vm/bookworm/busybox").exists() else b""
    peaks = {}
    for count, size in [CLOSE, (100, 256), (255, 256)]:
        table = Table(scratch / "peak", count, size)
        for name in ("smbios-creds", "C floor"):
            remove(into)
            peaks[f"{name}, {count} of {size} B"] = int(run(BUILT / "peak", *contenders(table, into)[name]))
    return {"agent": len(agent), "host": len(host), "gzip": len(gzip.compress(agent, 9)),
            "xz": len(lzma.compress(agent, check=lzma.CHECK_CRC32)), "busybox_initrd_gzip": len(gzip.compress(image, 9)),
            "peaks": peaks}


def mean_ms(microseconds):
    return statistics.mean(microseconds) / 1000


def differences(boots):
    """Returns by which share each unit's time differs between the two runs with the first seed, the largest share first."""
    pairs = [(times[0], boots["repeated"][stage][name][0])
             for stage, row in boots["stages"].items() for name, times in row.items() if name.endswith(".unit") and times[0] > 0]
    return sorted((abs(one - other) / one for one, other in pairs), reverse=True)


def report_boots(boots):
    """Returns the results of (d) as Markdown."""
    seeds = len(next(iter(boots["stages"].values()))["bare.unit"])
    shares = differences(boots)
    equal = sum(share <= 0.01 for share in shares)
    text = (f"\n**In a boot**, measured on {boots['date']} by QEMU's instruction clock (`-icount shift=0,sleep=off`). A "
            "millisecond is a million instructions of kernel, systemd and agent. Other programs on the host do not change these "
            "times. The machine has one CPU, and gets 16 credentials of 44 B. The kernel does not test its cryptography, which "
            "would take a tenth of the boot. The machine of systemd 262 has libseccomp, without which systemd sets no filter of "
            "system calls; before 2026-11-27, it did not have libseccomp. A time is from the start of the unit's process until the "
            f"unit is active, mean of {seeds} boots, each at another date, which changes the order of events. The boots at the "
            f"first date were repeated: of {len(shares)} times, {equal} differ by at most 1 %, and the largest difference is "
            f"{100 * shares[0]:.1f} %. ")
    text += ("The first four columns add up to the whole unit: `/bin/true` in a unit without a sandbox; the sandbox without its "
             "list of system calls; the list of system calls; and an import that finds that systemd has imported everything. In "
             "the column for a repair, one credential has 6000 B, and systemd imports only a part of it. The import then mounts "
             "and unmounts, and after each of these calls PID 1 reads the table of mounts again. The last two columns are the "
             "whole boot without the unit, and how much longer the boot is with the unit. The kernel counts the boot in steps of "
             "4 ms.\n\n")
    rows = []
    for name, row in boots["stages"].items():
        of = {key: mean_ms(times) for key, times in row.items()}
        parts = [of["bare.unit"], of["no-list.unit"] - of["bare.unit"], of["sandbox.unit"] - of["no-list.unit"],
                 of["unit.unit"] - of["sandbox.unit"]]
        repair = f"{of['repair.unit']:.1f} ms" if "repair.unit" in of else "systemd cuts nothing"
        # Adding 0 turns -0.0 into 0.0.
        parts = [round(part, 1) + 0 for part in parts]
        rows.append([name, *(f"{part:.1f} ms" for part in parts), f"{of['unit.unit']:.1f} ms", repair,
                     f"{of['without.boot']:.0f} ms", f"{of['unit.boot'] - of['without.boot']:.0f} ms"])
    text += markdown(["systemd, stage", "start by PID 1", "sandbox", "list of system calls", "import", "the whole unit",
                      "the whole unit with a repair", "boot without the unit", "boot longer by"], rows)
    if not boots["directives"]:
        return text
    text += ("\nWhat each directive of the sandbox costs, after the boot, median of "
             f"{len(next(iter(next(iter(boots['directives'].values())).values())))} starts: what it adds to a unit without a "
             "sandbox / what the unit saves without it. "
             "[Why the sandbox has these directives](decisions/0004-sandbox.md).\n\n")
    versions = list(boots["directives"])
    medians = {version: {name: statistics.median(times) / 1000 for name, times in services.items()}
               for version, services in boots["directives"].items()}
    rows = []
    for name in next(iter(medians.values())):
        if not name.startswith("only-"):
            continue
        directive = name.removeprefix("only-")
        cells = [f"{of[name] - of['none']:.1f} / {of['all'] - of[f'less-{directive}']:.1f}"
                 for of in (medians[version] for version in versions)]
        rows.append([f"`{directive}=`", *cells])
    rows.append(["all of them", *(f"{medians[version]['all'] - medians[version]['none']:.1f}" for version in versions)])
    return text + markdown(["ms", *(f"systemd {version}" for version in versions)], rows)


def report(results, plots):
    """Returns all results as Markdown, which refers to the plots in the directory `plots`."""
    text = ("Measured on " + results["date"] + ": " + results["machine"] + ". `./benches/run` has written this section, and writes it "
            "again after each measurement.\n\n")
    text += ("**Import** into a tmpfs, from the same table, median of one process from start to end; in brackets how many "
             "credentials arrived byte for byte. The C floor makes only the calls that it cannot do without: it "
             "verifies nothing, does not keep values out of swap and core dumps, and reports nothing.\n\n")
    names = results["import"][0]["names"]
    rows = []
    for row in results["import"]:
        cells = [milliseconds(time) + (f" ({arrived} of {row['count']})" if arrived is not None else "")
                 for time, arrived in zip(row["times"], [*row["arrived"], None])]
        rows.append([f"{row['count']} of {row['size']} B", *cells])
    text += markdown(["credentials", *names], rows)
    text += "\n255 credentials of 4096 B are not measured: the agent reads a table of at most 1 MiB and 64 KiB.\n\n"

    text += (f"**The same table of {CLOSE[0]} of {CLOSE[1]} B, cut** in the middle of its last value, as firmware does:\n\n")
    text += markdown(["", "arrived complete", "arrived with wrong content", "missing", "exit code"],
                     [[row["name"], row["equal"], row["wrong"], row["missing"], row["exit"]] for row in results["damage"]])

    ours, floor = results["close"]["smbios-creds"], results["close"]["C floor"]
    text += (f"\n**Work of its own** at {CLOSE[0]} of {CLOSE[1]} B: what the program takes less what an empty program of the "
             "same kind takes (`fn main() {}`, static, musl; `int main(void)`, static, glibc). System calls by strace, "
             "instructions in user space by callgrind:\n\n")
    rows = []
    for key, word, form in [("time", "time", milliseconds), ("calls", "system calls", str),
                            ("instructions", "instructions", lambda number: f"{number:,}")]:
        mine, its = (side[key] - side[f"empty_{key}"] for side in (ours, floor))
        rows.append([word, form(mine), form(its), f"{mine / its:.2f}", form(ours[key]), form(floor[key]),
                     f"{ours[key] / floor[key]:.2f}"])
    text += markdown(["", "smbios-creds", "C floor", "ratio", "with start: smbios-creds", "C floor", "ratio"], rows)
    text += "\nSystem calls by what they are for, those of the empty program included:\n\n"
    order = ["start and end", "memory (mmap, brk)", "hardening of the process", "reading the table", "writing credentials",
             "putting in place", "messages"]
    text += markdown(["", *order], [[name, *(side["purposes"].get(what, 0) for what in order)]
                                    for name, side in results["close"].items()])

    scaling = results["scaling"]
    time, count = scaling["time"], scaling["instructions"]
    text += (f"\n**Scaling**, tables of 4 to 64 KB: {time['start'] * 1000:.2f} ms and {time['slope'] * 1e9 * 1024 / 1000:.1f} µs a "
             f"KiB (R² {time['r2']:.3f}); {count['slope']:.1f} instructions a byte of the table (R² {count['r2']:.5f}).\n\n"
             f"![time against the size of the table]({plots}/scaling.svg)\n"
             f"![time of each, by number of credentials]({plots}/import.svg)\n\n")

    text += f"**The host's `run`**, {CLOSE[0]} of {CLOSE[1]} B, in front of a program that does nothing:\n\n"
    text += markdown(["", "time"], [[name.replace("a hundred at once:", "100 starts at the same time, until all have ended:"),
                                     milliseconds(value)] for name, value in results["run"].items()])

    if results["boots"]:
        text += report_boots(results["boots"])

    sizes = results["sizes"]
    text += "\n**Size** in KiB:\n\n"
    rows = [["the agent, one static file", f"{sizes['agent'] / 1024:.0f}"],
            ["what it adds to an initrd: gzip", f"{sizes['gzip'] / 1024:.0f}"], ["… xz", f"{sizes['xz'] / 1024:.0f}"],
            ["an initrd with nothing but busybox, gzip", f"{sizes['busybox_initrd_gzip'] / 1024:.0f}"],
            ["the host's program, static", f"{sizes['host'] / 1024:.0f}"]]
    rows += [[f"most memory (VmHWM): {name}", peak] for name, peak in sizes["peaks"].items()]
    return text + markdown(["", "KiB"], rows)


COLOURS = ["#1f77b4", "#7f7f7f", "#d62728", "#ff7f0e", "#bcbd22"]


class Plot:
    """An SVG plot with its own scales."""

    def __init__(self, title, x_label, y_label, xs, ys, log=False):
        import math
        self.math, self.log = math, log
        self.range_x, self.range_y = (min(xs), max(xs)), (min(ys) if log else 0, max(ys) * (1 if log else 1.05))
        self.parts = [f'<text x="320" y="20" text-anchor="middle" font-size="14">{title}</text>',
                      f'<text x="320" y="350" text-anchor="middle">{x_label}</text>',
                      f'<text x="14" y="175" text-anchor="middle" transform="rotate(-90 14 175)">{y_label}</text>',
                      '<path d="M70 35V310H600" fill="none" stroke="#888"/>']

    def share(self, value, low, high):
        if self.log:
            value, low, high = (self.math.log(number) for number in (value, low, high))
        return (value - low) / (high - low or 1)

    def at(self, x, y):
        return 70 + 520 * self.share(x, *self.range_x), 310 - 270 * self.share(y, *self.range_y)

    def ticks(self, xs, ys, form_x=str, form_y=str):
        for x in xs:
            at = self.at(x, self.range_y[0])[0]
            self.parts.append(f'<text x="{at:.1f}" y="326" text-anchor="middle">{form_x(x)}</text>')
        for y in ys:
            if self.range_y[0] <= y <= self.range_y[1]:
                at = self.at(self.range_x[0], y)[1]
                self.parts.append(f'<text x="64" y="{at + 4:.1f}" text-anchor="end">{form_y(y)}</text>'
                                  f'<path d="M70 {at:.1f}H600" stroke="#ddd"/>')

    def line(self, points, colour, name=None, row=0):
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in (self.at(*point) for point in points))
        self.parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if name:
            self.parts.append(f'<text x="84" y="{50 + 16 * row}" fill="{colour}">{name}</text>')

    def dots(self, points, colour):
        self.parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in (self.at(*p) for p in points)]

    def write(self, path):
        path.write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 620 360" font-family="sans-serif" '
                        'font-size="11"><rect width="620" height="360" fill="white"/>\n' + "\n".join(self.parts) + "\n</svg>\n")


def nice(high):
    step = next(step for step in (10**e * m for e in range(-6, 9) for m in (1, 2, 5)) if high / step <= 6)
    return [step * n for n in range(int(high / step) + 1)]


def draw(results, folder):
    rows = [row for row in results["import"] if row["size"] == CLOSE[1]]
    times = [time * 1000 for row in rows for time in row["times"]]
    plot = Plot(f"Import of credentials of {CLOSE[1]} bytes", "credentials", "milliseconds", COUNTS, times, log=True)
    plot.ticks(COUNTS, [0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000])
    for index, name in enumerate(rows[0]["names"]):
        points = [(row["count"], row["times"][index] * 1000) for row in rows]
        plot.line(points, COLOURS[index], name, index)
        plot.dots(points, COLOURS[index])
    plot.write(folder / "import.svg")

    scaling = results["scaling"]
    xs = [point["bytes"] / 1024 for point in scaling["points"]]
    ys = [point["time"] * 1000 for point in scaling["points"]]
    plot = Plot("Import, by size of the table", "KiB", "milliseconds", [0, *xs], ys)
    plot.ticks([0, 16, 32, 48, 64], nice(max(ys)), str, lambda y: f"{y:g}")
    plot.dots(zip(xs, ys), COLOURS[0])
    line = scaling["time"]
    plot.line([(x, (line["start"] + line["slope"] * x * 1024) * 1000) for x in (0, max(xs))], COLOURS[1], "linear fit")
    plot.write(folder / "scaling.svg")


def machine():
    release = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    return (f"{model[1] if model else platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}, {release}, "
            f"load before it {load}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true",
                        help="few repetitions and boots with one seed, into target/benches; the page and results are kept")
    parser.add_argument("--runs", type=int, help="runs of each command (100; 5 if quick)")
    parser.add_argument("--boots", type=int, help="seeds of boots, some 50 boots for each (8; 1 if quick); 0 keeps the figures")
    parser.add_argument("--only", choices=["boots"],
                        help="measure boots only, and keep all other figures: boots need no quiet machine")
    options = parser.parse_args()
    runs = options.runs or (5 if options.quick else 100)
    boots = options.boots if options.boots is not None else (1 if options.quick else 8)

    if not options.quick and PAGE.read_text().count(BEGIN) != 1:
        parser.error(f"{PAGE} needs {BEGIN} and {END}, between which the figures go")
    kept = BENCHES / "results/results.json"
    before = json.loads(kept.read_text()) if kept.exists() else None
    results = {"date": datetime.date.today().isoformat(), "machine": machine()}
    if options.only:
        results = dict(before)
    elif boots == 0:
        results["boots"] = before["boots"] if before else None
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as scratch:
        scratch = pathlib.Path(scratch)
        for name in ["cut", "close", "scaling", "run", "peak"]:
            (scratch / name).mkdir()
        into = scratch / "into"
        for name, measure in [
            ("import", lambda: measure_import(scratch, into, runs)),
            ("damage", lambda: measure_damage(scratch, into)),
            ("close", lambda: measure_close(scratch, into, runs)),
            ("scaling", lambda: measure_scaling(scratch, into, runs)),
            ("run", lambda: measure_run(scratch, runs)),
            ("sizes", lambda: measure_sizes(scratch, into)),
            ("boots", lambda: measure_boots(boots)),
        ]:
            if options.only in (None, name) and (name != "boots" or boots > 0):
                print(f"== measuring: {name}", flush=True)
                results[name] = measure()

    if SPREADS:
        results["noise"] = statistics.median(SPREADS)
    compared = compare.section(before, results) if before else ""
    print(compared)
    folder = BUILT / "results" if options.quick else BENCHES / "results"
    folder.mkdir(parents=True, exist_ok=True)
    draw(results, folder)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "results.md").write_text("# What it costs\n\n" + report(results, ".") + compared)
    if not options.quick:
        before, _, after = re.split(f"{BEGIN}|{END}", PAGE.read_text())
        PAGE.write_text(f"{before}{BEGIN}\n{report(results, '../benches/results')}{compared}{END}{after}")
    print(f"== written to {folder}")


if __name__ == "__main__":
    main()
