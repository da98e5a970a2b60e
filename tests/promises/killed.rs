//! Imports that are killed, or in which a call fails, at any system call. They must leave no part of a value and no
//! directory that is half filled or writable, and the next import must complete.
//!
//! The agent is the static program, as in an initrd. It runs in a mount namespace with `/run`, `/sys` and `/etc` of
//! its own. `tests/machine/killed.rs` does the same at random instants in virtual machines.

use std::process::{Command, Stdio};

use testkit::{recording, static_agent, stderr, stdout, table};

const TWO: [&[u8]; 2] =
    [b"io.systemd.credential:text=value", b"io.systemd.credential.binary:binary=AAECAwQ="];

/// A script that prepares a guest with an early `/run`, and defines `attempts INJECTION CALLS`. For each time that an
/// import makes one of CALLS, `attempts` runs an import with INJECTION at this call, and then the next import, which
/// must complete.
///
/// A case defines `before` (which prepares each attempt), `after_fault CODE` and `after_next` (which print what is
/// wrong).
const ATTEMPTS: &str = r#"
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /etc
mount -t tmpfs tmpfs /sys
mkdir -p /sys/firmware/dmi/tables
cp "$from/DMI" "$from/smbios_entry_point" /sys/firmware/dmi/tables
PATH=$from:$PATH
ln -s "$agent" "$from/smbios-creds"
trace=$from/trace message=$from/message
attempts() {
    total=0
    for call in $2; do
        n=0
        while n=$((n + 1)); do
            before
            rm -f "$trace"
            code=0
            strace -qq -o "$trace" -e "trace=$call" -e "inject=$call:$1:when=$n" smbios-creds import >/dev/null 2>"$message" || code=$?
            grep -qE 'INJECTED|killed by SIGKILL' "$trace" || break
            what="$call $n"
            after_fault $code
            ! grep 'internal error' "$message" || echo "$what: a panic"
            smbios-creds import >/dev/null 2>"$message" || { echo "$what: not completed"; cat "$message"; }
            after_next
            ! grep staging /proc/self/mounts || echo "$what: staging is still mounted"
            total=$((total + 1))
        done
    done
    echo "$total calls"
}
"#;

/// Runs imports of these strings under each of these injections. An injection has an action, the calls at which it
/// happens, and the least number of such calls.
fn injected(strings: &[&[u8]], case: &str, injections: &[(&str, &str, u32)]) {
    for (injection, on, fewest) in injections {
        let source = recording(&table(strings));
        let mut command = Command::new("unshare");
        command.arg(if testkit::is_root() { "-m" } else { "-rm" });
        command.args(["env", "--default-signal", "sh", "-ec"]);
        command.arg(format!("{ATTEMPTS}{case}attempts {injection} '{on}'"));
        command.env("agent", static_agent()).env("from", source.path());
        command.env_remove("CREDENTIALS_DIRECTORY").env_remove("JOURNAL_STREAM");
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = stdout(&output);
        let calls = text.trim().strip_suffix(" calls").and_then(|calls| calls.parse::<u32>().ok());
        assert!(calls.is_some_and(|calls| calls > *fewest), "{injection}: {text}{}", stderr(&output));
    }
}

/// The case in which the import itself mounts `@system`.
const MOUNTED: &str = r#"
system=/run/credentials/@system
here() { grep -q " $system " /proc/self/mounts; }
complete() {
    grep -qE " $system (ramfs|tmpfs) ro," /proc/self/mounts && [ "$(cat $system/text)" = value ] &&
    [ "$(wc -c <$system/binary)" = 5 ]
}
before() { umount $system 2>/dev/null || true; rm -rf /run/credentials; }
after_fault() { ! here || complete || echo "$what: half filled or writable"; }
after_next() { complete || echo "$what: not complete after the next import"; }
"#;

#[test]
fn killed_at_any_system_call_system_is_never_half_filled_or_writable() {
    let calls = "openat openat2 mkdirat write close mount umount2 flock unlinkat fstat stat getdents64 munmap \
                 renameat fchmod exit_group";
    injected(&TWO, MOUNTED, &[("signal=KILL", calls, 60)]);
}

#[test]
fn any_system_call_that_fails_leaves_system_absent_or_complete() {
    injected(
        &TWO,
        MOUNTED,
        &[
            ("error=ENOSPC", "write openat mkdirat mount renameat", 20),
            ("error=EIO", "read write fstat getdents64 mount flock renameat", 20),
            ("error=EROFS", "openat mkdirat mount unlinkat", 15),
            ("error=EMFILE", "openat openat2 mkdirat", 10),
            ("error=EPERM", "mount umount2 mkdirat openat openat2 unlinkat flock", 20),
        ],
    );
}

/// The case in which systemd in the initrd has imported everything, and the import only writes and hands over its report.
const REPORTED: &str = r#"
system=/run/credentials/@system
state=/run/smbios-creds handed=/run/credentials/@initrd/smbios-creds.report
export SYSTEMD_IN_INITRD=1
mkdir -p /run/systemd/system $system
mount -t tmpfs -o mode=700 tmpfs $system
(umask 277; printf value >$system/text; printf '\0\1\2\3\4' >$system/binary)
mount -o remount,bind,ro $system
before() { rm -rf $state /run/credentials/@initrd; }
whole() { [ ! -e $1 ] || [ "$(tail -c 1 $1 | wc -l)" = 1 ] || echo "$what: only a part of $1"; }
after_fault() { whole $state/report.json; whole $handed; }
after_next() {
    cmp $state/report.json $handed || echo "$what: another report is handed over"
    [ "$(ls -A $state)" = report.json ] || { echo "$what: something is left"; ls -A $state; }
}
"#;

#[test]
fn killed_or_failed_at_any_system_call_a_report_is_absent_or_complete() {
    let calls = "openat mkdirat write close flock fstat fchmod linkat renameat unlinkat exit_group";
    injected(
        &TWO,
        REPORTED,
        &[
            ("signal=KILL", calls, 40),
            ("error=ENOSPC", "write openat mkdirat linkat renameat", 15),
            ("error=EMFILE", "openat", 10),
            ("error=EIO", "write fstat flock fchmod", 10),
        ],
    );
}

/// The case in which PID 1 is systemd, and has cut one value and lost another.
const REPAIRED: &str = r#"
system=/run/credentials/@system
mkdir -p /run/systemd/system $system
mount --bind $system $system
before() {
    mount -o remount,bind,rw $system
    rm -f $system/large $system/next
    (umask 277; printf xx >$system/large)
    mount -o remount,bind,ro $system
}
read_only() { grep -qE " $system (ramfs|tmpfs) ro," /proc/self/mounts; }
size() { wc -c 2>/dev/null <$system/$1 || true; }
after_fault() {
    read_only || echo "$what: writable"
    case "$(size large):$(size next)" in 2: | 6000: | 2:5 | 6000:5) ;; *) echo "$what: a part of a value" ;; esac
}
after_next() {
    [ "$(size large):$(size next)" = 6000:5 ] || echo "$what: not complete after the next import"
    [ "$(ls -A $system)" = "$(printf 'large\nnext')" ] || { echo "$what: something is left"; ls -A $system; }
    read_only || echo "$what: writable after the next import"
}
"#;

#[test]
fn killed_while_it_repairs_every_value_is_the_old_or_the_new_one_and_the_directory_read_only() {
    let large = format!("io.systemd.credential:large={}", "x".repeat(6000));
    let calls =
        "openat openat2 mkdirat write close mount umount2 flock renameat unlinkat read getdents64 exit_group";
    injected(
        &[large.as_bytes(), b"io.systemd.credential:next=value"],
        REPAIRED,
        &[
            ("signal=KILL", calls, 50),
            ("error=ENOSPC", "write openat mkdirat mount renameat", 20),
            ("error=EIO", "read write fstat getdents64 mount flock renameat unlinkat", 20),
            ("error=EROFS", "openat mkdirat mount unlinkat renameat", 15),
            ("error=EMFILE", "openat openat2 mkdirat", 10),
        ],
    );
}

/// The case of an initrd in which systemd could import nothing.
const HANDED_OVER: &str = r#"
touch /etc/initrd-release
whole() { [ "$(cat $1/text)" = value ] && [ "$(wc -c <$1/binary)" = 5 ]; }
before() {
    rm -rf /run/credentials /run/credstore /run/smbios-creds
    mkdir -p /run/systemd/system
}
after_fault() {
    for directory in /run/credentials/@initrd /run/credstore; do
        [ ! -e $directory ] || whole $directory || echo "$what: $directory is not whole"
    done
}
after_next() {
    for directory in /run/credentials/@initrd /run/credstore; do
        whole $directory || echo "$what: $directory is not whole after the next import"
    done
    [ -s /run/credentials/@initrd/smbios-creds.report ] || echo "$what: no report is handed over"
    [ "$(ls -A /run/credentials /run | grep -c smbios-creds-)" = 0 ] || echo "$what: something is left"
}
"#;

#[test]
fn killed_while_it_hands_over_from_the_initrd_every_directory_is_absent_or_complete() {
    let calls = "openat openat2 mkdirat write close flock renameat renameat2 linkat unlinkat fchmod getdents64 \
                 exit_group";
    injected(
        &TWO,
        HANDED_OVER,
        &[
            ("signal=KILL", calls, 60),
            ("error=ENOSPC", "write openat mkdirat linkat renameat", 20),
            ("error=EIO", "write getdents64 flock renameat linkat", 15),
        ],
    );
}
