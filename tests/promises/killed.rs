//! Killed, or failed, at any system call and at random instants: never a part of a value, never a folder half filled or
//! writable, and the next import completes.

use std::fmt::Write as _;

use testkit::machine::{Machine, Outcome, Release};

fn calls(outcome: &Outcome) -> u32 {
    let text = outcome.text();
    text.trim()
        .strip_suffix(" calls")
        .and_then(|calls| calls.parse().ok())
        .unwrap_or_else(|| panic!("{text}"))
}

/// `attempts INJECTION CALLS`: an import for each time that it makes one of these calls, at which this is injected, and
/// after it the next import, which must complete.
const ATTEMPTS: &str = r#"
here() { grep -q ' /run/credentials/@system ' /proc/mounts; }
complete() {
    grep -qE ' /run/credentials/@system (ramfs|tmpfs) ro,' /proc/mounts &&
    [ "$(cat /run/credentials/@system/text)" = value ] &&
    [ "$(wc -c < /run/credentials/@system/binary)" = 5 ]
}
attempts() {
    # Stops the import at this call only. strace 6.1 sends no signal from behind a filter.
    case $1 in error=*) filter="-f --seccomp-bpf" ;; *) filter= ;; esac
    total=0
    for call in $2; do
        n=0
        while n=$((n + 1)); do
            rm -f /tmp/trace
            strace $filter -qq -o /tmp/trace -e "trace=$call" -e "inject=$call:$1:when=$n" smbios-creds import >/dev/null 2>/tmp/message
            code=$?
            grep -qE 'INJECTED|killed by SIGKILL' /tmp/trace || break
            if here && ! complete; then echo "$call $n: half filled or writable"; fi
            [ $code != 101 ] && [ $code != 134 ] || { echo "$call $n: a panic"; cat /tmp/message; }
            smbios-creds import >/dev/null 2>/tmp/message ||
                { echo "$call $n: not completed"; cat /tmp/message; }
            complete || echo "$call $n: not complete after the next import"
            grep staging /proc/mounts && echo "$call $n: staging is still mounted"
            umount /run/credentials/@system
            rm -r /run/credentials
            total=$((total + 1))
        done
        # The last one went through.
        umount /run/credentials/@system 2>/dev/null
        rm -rf /run/credentials
    done
    echo "$total calls"
}
"#;

/// Runs imports into `system` under these injections. Each has the least number of calls that it must meet.
fn injected(name: &str, injections: &[(&str, &str, u32)]) {
    let mut script = ATTEMPTS.to_owned();
    for (n, (injection, on, _)) in injections.iter().enumerate() {
        writeln!(script, "result {n} attempts {injection} \"{on}\"").unwrap();
    }
    let results = Machine::new(name)
        .oem_string("io.systemd.credential:text=value")
        .oem_string("io.systemd.credential.binary:binary=AAECAwQ=")
        .full()
        .boot(&script);
    for (n, (injection, _, fewest)) in injections.iter().enumerate() {
        let outcome = &results[&n.to_string()];
        assert!(calls(outcome) > *fewest, "{injection}: {:?}", outcome.text());
    }
}

#[test]
fn killed_at_any_system_call_system_is_never_half_filled_or_writable() {
    injected(
        "killed",
        &[(
            "signal=KILL",
            "openat openat2 mkdirat write close mount umount2 flock unlinkat fstat stat getdents64 munmap renameat \
             fchmod exit_group",
            60,
        )],
    );
}

#[test]
fn any_system_call_that_fails_leaves_system_absent_or_complete() {
    injected(
        "calls-fail",
        &[
            ("error=ENOSPC", "write openat mkdirat mount renameat", 20),
            ("error=EIO", "read write fstat getdents64 mount flock renameat", 20),
            ("error=EROFS", "openat mkdirat mount unlinkat", 15),
            ("error=EMFILE", "openat openat2 mkdirat", 10),
            ("error=EPERM", "mount umount2 mkdirat openat openat2 unlinkat flock", 20),
        ],
    );
}

#[test]
fn killed_while_it_repairs_every_value_is_the_old_or_the_new_one_and_the_folder_read_only() {
    let large = "x".repeat(6000);
    let results = Machine::new("repair-killed")
        .oem_string(&format!("io.systemd.credential:large={large}"))
        .oem_string("io.systemd.credential:next=value")
        .systemd("")
        .boot(
            r#"
            system=/run/credentials/@system
            spoil() {
                mount -o remount,bind,rw $system
                rm -f $system/large $system/next
                (umask 277; printf xx > $system/large)
                mount -o remount,bind,ro $system
            }
            read_only() { grep -qE " $system (ramfs|tmpfs) ro," /proc/mounts; }
            size() { wc -c 2>/dev/null < $system/$1; }
            attempts() {
                # Stops the import at this call only. strace 6.1 sends no signal from behind a filter.
                case $1 in error=*) filter="-f --seccomp-bpf" ;; *) filter= ;; esac
                total=0
                for call in $2; do
                    n=0
                    while n=$((n + 1)); do
                        spoil
                        rm -f /tmp/trace
                        strace $filter -qq -o /tmp/trace -e "trace=$call" -e "inject=$call:$1:when=$n" smbios-creds import >/dev/null 2>/tmp/message
                        grep -qE 'INJECTED|killed by SIGKILL' /tmp/trace || break
                        grep -q 'internal error' /tmp/message && { echo "$call $n: a panic"; cat /tmp/message; }
                        read_only || echo "$call $n: writable"
                        case "$(size large):$(size next)" in 2:|6000:|2:5|6000:5) ;; *) echo "$call $n: a part of a value" ;; esac
                        smbios-creds import >/dev/null 2>/tmp/message || { echo "$call $n: not completed"; cat /tmp/message; }
                        [ "$(size large):$(size next)" = 6000:5 ] || echo "$call $n: not complete after the next import"
                        [ "$(ls -A $system)" = "$(printf 'large\nnext')" ] || { echo "$call $n: something is left"; ls -A $system; }
                        read_only || echo "$call $n: writable after the next import"
                        grep staging /proc/mounts && echo "$call $n: staging is still mounted"
                        total=$((total + 1))
                    done
                done
                echo "$total calls"
            }
            result killed attempts signal=KILL "openat openat2 mkdirat write close mount umount2 flock renameat unlinkat read getdents64 exit_group"
            result full attempts error=ENOSPC "write openat mkdirat mount renameat"
            result worn attempts error=EIO "read write fstat getdents64 mount flock renameat unlinkat"
            result read_only attempts error=EROFS "openat mkdirat mount unlinkat renameat"
            result many attempts error=EMFILE "openat openat2 mkdirat"
            "#,
        );
    for (name, fewest) in [("killed", 50), ("full", 20), ("worn", 20), ("read_only", 15), ("many", 10)] {
        assert!(calls(&results[name]) > fewest, "{name}: {:?}", results[name].text());
    }
}

#[test]
fn killed_at_two_hundred_random_instants_system_is_absent_or_complete() {
    let mut machine = Machine::new("killed-at-random").release(Release::Newest);
    for n in 0..50 {
        machine = machine.oem_string(&format!("io.systemd.credential:c{n}={}", "x".repeat(500 + n)));
    }
    let results = machine.boot(
        r#"
        mount -t tmpfs tmpfs /run
        system=/run/credentials/@system
        here() { grep -q " $system " /proc/mounts; }
        complete() {
            grep -q " $system tmpfs ro," /proc/mounts && [ "$(cat $system/* | wc -c)" = 26225 ] &&
            [ "$(ls $system | wc -l)" = 50 ]
        }
        clean() { umount $system 2>/dev/null; rm -rf /run/credentials /run/smbios-creds; }
        hundredths() { read up rest </proc/uptime; echo ${up%.*}${up#*.}; }
        attempts() {
            begin=$(hundredths)
            for n in 1 2 3 4 5 6 7 8 9 10; do smbios-creds import >/dev/null 2>&1; clean; done
            # In microseconds, what an import takes and half as much again.
            span=$((($(hundredths) - begin) * 1500))
            total=0 killed=0
            while [ $total -lt 200 ]; do
                smbios-creds import >/dev/null 2>&1 &
                usleep $((RANDOM * span / 32768))
                kill -9 $! 2>/dev/null
                wait $!; [ $? = 137 ] && killed=$((killed + 1))
                if here && ! complete; then echo "half filled or writable"; fi
                [ ! -e $system ] || here || [ -z "$(ls -A $system)" ] || echo "files without a mount"
                smbios-creds import >/dev/null 2>/tmp/message || { echo "not completed"; cat /tmp/message; }
                complete || echo "not complete after the next import"
                grep staging /proc/mounts && echo "staging is still mounted"
                clean
                total=$((total + 1))
            done
            [ $killed -gt 50 ] || echo "killed $killed times only, within $span microseconds"
            echo "$total calls"
        }
        result random attempts
        "#,
    );
    assert_eq!(calls(&results["random"]), 200);
}

#[test]
fn killed_while_it_hands_over_from_the_initrd_every_folder_is_absent_or_complete() {
    // It looks like an initrd in which systemd could import nothing, and needs no second stage.
    let results = Machine::new("killed-handover")
        .oem_string("io.systemd.credential:text=value")
        .oem_string("io.systemd.credential.binary:binary=AAECAwQ=")
        .full()
        .boot(
            r#"
            mkdir -p /run/systemd/system
            touch /etc/initrd-release
            whole() {
                [ "$(cat $1/text)" = value ] && [ "$(wc -c < $1/binary)" = 5 ]
            }
            attempts() {
                # Stops the import at this call only. strace 6.1 sends no signal from behind a filter.
                case $1 in error=*) filter="-f --seccomp-bpf" ;; *) filter= ;; esac
                total=0
                for call in $2; do
                    n=0
                    while n=$((n + 1)); do
                        rm -rf /tmp/trace /run/credentials /run/credstore /run/smbios-creds
                        strace $filter -qq -o /tmp/trace -e "trace=$call" -e "inject=$call:$1:when=$n" smbios-creds import >/dev/null 2>/tmp/message
                        grep -qE 'INJECTED|killed by SIGKILL' /tmp/trace || break
                        for folder in /run/credentials/@initrd /run/credstore; do
                            [ ! -e $folder ] || whole $folder || echo "$call $n: $folder is not whole"
                        done
                        smbios-creds import >/dev/null 2>/tmp/message || { echo "$call $n: not completed"; cat /tmp/message; }
                        for folder in /run/credentials/@initrd /run/credstore; do
                            whole $folder || echo "$call $n: $folder is not whole after the next import"
                        done
                        [ -s /run/credentials/@initrd/smbios-creds.report ] || echo "$call $n: no report is handed over"
                        [ "$(ls -A /run/credentials /run | grep -c smbios-creds-)" = 0 ] || echo "$call $n: something is left"
                        total=$((total + 1))
                    done
                done
                echo "$total calls"
            }
            result killed attempts signal=KILL "openat openat2 mkdirat write close flock renameat renameat2 linkat unlinkat fchmod getdents64 exit_group"
            result full attempts error=ENOSPC "write openat mkdirat linkat renameat"
            result worn attempts error=EIO "write getdents64 flock renameat linkat"
            "#,
        );
    for (name, fewest) in [("killed", 80), ("full", 20), ("worn", 15)] {
        assert!(calls(&results[name]) > fewest, "{name}: {:?}", results[name].text());
    }
}
