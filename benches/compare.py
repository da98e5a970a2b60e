#!/usr/bin/env python3
"""Names the figures of one results file that are worse than in an earlier one by more than their noise:
`benches/compare.py OLD NEW`. It exits with 1 if there are such figures."""

import json
import pathlib
import sys

# Noise of the times in a results file that does not contain its noise.
NOISE = 0.1
# Noise of instruction counts: for the same import, valgrind counts differ because addresses and process IDs differ.
INSTRUCTIONS = 0.01
# Noise of boot times by the instruction clock.
BOOTS = 0.02


def boots_of(results):
    """Returns the figures by the instruction clock, which older results do not have."""
    boots = results.get("boots")
    return boots["stages"] if isinstance(boots, dict) else {}


def figures(results):
    """Returns each figure by name: its value (less is better), and its noise as a share of the value."""
    noise = results.get("noise", NOISE)
    found = {}
    for row in results["import"]:
        name = f"import of {row['count']} × {row['size']} B, milliseconds"
        found[name] = (row["times"][row["names"].index("smbios-creds")] * 1000, noise)
    ours = results["close"]["smbios-creds"]
    found["import, system calls"] = (ours["calls"], 0)
    found["import, instructions"] = (ours["instructions"], INSTRUCTIONS)
    found["import, instructions for each byte of the table"] = (results["scaling"]["instructions"]["slope"], INSTRUCTIONS)
    for name, time in results["run"].items():
        # A start without smbios-creds shows only how fast the machine is.
        if name != "plain exec":
            found[f"{name}, milliseconds"] = (time * 1000, noise)
    for stage, row in boots_of(results).items():
        for variant in ("unit", "repair"):
            if times := row.get(f"{variant}.unit"):
                found[f"boot, {variant}, systemd {stage}, milliseconds"] = (sum(times) / len(times) / 1000, BOOTS)
    for name, size in results["sizes"].items():
        if isinstance(size, int) and name != "busybox_initrd_gzip":
            found[f"size: {name}, bytes"] = (size, 0)
    return found


def worse(old, new):
    """Returns a line for each figure that got worse. A figure that only one of the two results has is not compared."""
    before = figures(old)
    lines = []
    for name, (value, noise) in figures(new).items():
        if name not in before:
            continue
        earlier, earlier_noise = before[name]
        both = noise + earlier_noise
        if value > earlier * (1 + both):
            lines.append(f"{name}: {earlier:.4g} before, {value:.4g} now, {100 * (value / earlier - 1):+.1f} % "
                         f"with a noise of {100 * both:.1f} %")
    return lines


def section(old, new):
    """Returns Markdown that says which figures got worse."""
    text = f"\n**Compared with {old['date']}**, on {old['machine']}: "
    lines = worse(old, new)
    if not lines:
        return text + "no figure is worse by more than its noise.\n"
    return text + "these figures are worse by more than their noise.\n\n" + "".join(f"* {line}\n" for line in lines)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    old, new = (json.loads(pathlib.Path(path).read_text()) for path in sys.argv[1:])
    lines = worse(old, new)
    print("\n".join(f"worse: {line}" for line in lines) or "no figure is worse by more than its noise")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
