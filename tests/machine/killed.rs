//! Imports that are killed at random instants, and at the system calls that change what others see. They must leave
//! no part of a value and no directory that is half filled or writable, and the next import must complete.
//! `tests/promises/killed.rs` kills imports at every system call.

use testkit::machine::{Machine, Outcome, Release};

fn calls(outcome: &Outcome) -> u32 {
    let text = outcome.text();
    text.trim()
        .strip_suffix(" calls")
        .and_then(|calls| calls.parse().ok())
        .unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn killed_as_it_mounts_or_writes_system_is_absent_or_complete() {
    let results = Machine::new("killed")
        .oem_string("io.systemd.credential:text=value")
        .oem_string("io.systemd.credential.binary:binary=AAECAwQ=")
        .full()
        .boot(
            r#"
            system=/run/credentials/@system
            here() { grep -q " $system " /proc/mounts; }
            complete() {
                grep -qE " $system (ramfs|tmpfs) ro," /proc/mounts &&
                [ "$(cat $system/text)" = value ] && [ "$(wc -c < $system/binary)" = 5 ]
            }
            attempts() {
                total=0
                for call in $1; do
                    n=0
                    while n=$((n + 1)); do
                        rm -f /tmp/trace
                        strace -qq -o /tmp/trace -e "trace=$call" -e "inject=$call:signal=KILL:when=$n" smbios-creds import >/dev/null 2>&1
                        grep -q 'killed by SIGKILL' /tmp/trace || break
                        if here && ! complete; then echo "$call $n: half filled or writable"; fi
                        smbios-creds import >/dev/null 2>/tmp/message || { echo "$call $n: not completed"; cat /tmp/message; }
                        complete || echo "$call $n: not complete after the next import"
                        grep staging /proc/mounts && echo "$call $n: staging is still mounted"
                        umount $system
                        rm -r /run/credentials
                        total=$((total + 1))
                    done
                    # The last one went through.
                    umount $system 2>/dev/null
                    rm -rf /run/credentials
                done
                echo "$total calls"
            }
            result killed attempts "mkdirat mount umount2 write"
            "#,
        );
    assert!(calls(&results["killed"]) > 8, "{:?}", results["killed"].text());
}

#[test]
fn killed_as_it_repairs_under_systemd_every_value_is_the_old_or_the_new_one() {
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
                total=0
                for call in $1; do
                    n=0
                    while n=$((n + 1)); do
                        spoil
                        rm -f /tmp/trace
                        strace -qq -o /tmp/trace -e "trace=$call" -e "inject=$call:signal=KILL:when=$n" smbios-creds import >/dev/null 2>&1
                        grep -q 'killed by SIGKILL' /tmp/trace || break
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
            result killed attempts "mount umount2 renameat unlinkat"
            "#,
        );
    assert!(calls(&results["killed"]) > 8, "{:?}", results["killed"].text());
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
