//! libvirt starts QEMU through `qemu-with-credentials`, with the hook of `integration/libvirt`.
//!
//! The daemons are real, in namespaces of their own. The confinement of QEMU is not tested here.

mod apparmor;
mod host;
mod kubevirt;
mod unit;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use host::{EMULATOR, Host, User};
use testkit::machine::Results;
use testkit::sent::{digests, expected};
use testkit::{canary, code, stderr, stdout};

type Secrets = BTreeMap<&'static str, Vec<u8>>;

/// Returns three secrets: a canary, bytes that no command line can carry, and more bytes than the 4 KiB that an old
/// systemd reads of a structure.
fn secrets(canary: &[u8]) -> Secrets {
    BTreeMap::from([
        ("canary", canary.to_vec()),
        ("hostile", [canary, b",line 1\nline 2,,x=\xff\0"].concat()),
        ("large", canary.repeat(400)),
    ])
}

fn encrypt(host: &Host, domain: &str, secrets: &Secrets) {
    for (name, value) in secrets {
        host.encrypt(domain, name, value);
    }
}

/// Asserts that the guest has these secrets, byte for byte, and that its `check` says that the set is complete.
fn assert_arrived(results: &Results, secrets: &Secrets) {
    let check = &results["check"];
    assert_eq!((check.code, results["import"].code), (0, 0), "{check:?} {:?}", results["import"]);
    let count = secrets.len();
    assert!(check.text().starts_with(&format!("passed: {count} credential")), "{}", check.text());
    assert!(check.text().contains("the manifest proves that the set is complete"), "{}", check.text());
    assert_eq!(digests(results, "sums"), expected(secrets));
}

/// Asserts that the value is nowhere where others can see it, and that no file with the value is left.
fn assert_hidden(host: &Host, user: User, domain: &str, canary: &[u8]) {
    let control = host.path("/run/control");
    fs::write(&control, [b"before ", canary, b" after"].concat()).unwrap();
    assert_eq!(
        host.search(canary),
        std::slice::from_ref(&control),
        "the search finds what is there, and nothing else"
    );
    fs::remove_file(control).unwrap();
    let xml = host.asked(user, &["dumpxml", "--security-info", domain]);
    assert!(xml.contains(EMULATOR) && !testkit::holds(xml.as_bytes(), canary), "{xml}");
    assert_eq!(host.in_memory(user), Vec::<PathBuf>::new());
}

#[test]
fn libvirt_domain_has_every_byte_and_shows_none() {
    let Some(host) = Host::start() else { return };
    let canary = canary();
    let secrets = secrets(&canary);
    encrypt(&host, "web", &secrets);
    host.define(User::System, "web", "web", EMULATOR);

    host.asked(User::System, &["start", "web"]);
    assert_hidden(&host, User::System, "web", &canary);
    assert_arrived(&host.results_after(User::System, "web", (1, 0)), &secrets);
    assert_hidden(&host, User::System, "web", &canary);
    let log = fs::read_to_string(host.path("/var/log/libvirt/qemu/web.log")).unwrap();
    assert!(log.contains("starts qemu with 3 credentials: canary, hostile, large"), "{log}");
    assert!(!log.contains("tainted"), "{log}");

    // `reset` starts the guest again, in the same QEMU.
    host.asked(User::System, &["reset", "web"]);
    assert_arrived(&host.results_after(User::System, "web", (2, 0)), &secrets);

    // `restore` starts another QEMU, which takes over the guest's memory, and with it the table. The guest's file of
    // results begins again.
    host.asked(User::System, &["save", "web", "/mnt/saved"]);
    assert_eq!(host.asked(User::System, &["domstate", "web"]).trim(), "shut off");
    assert_eq!(host.in_memory(User::System), Vec::<PathBuf>::new());
    host.asked(User::System, &["restore", "/mnt/saved"]);
    assert_arrived(&host.results_after(User::System, "web", (0, 1)), &secrets);
    assert_hidden(&host, User::System, "web", &canary);

    // A libvirtd that is killed during the start of a domain leaves such a directory.
    fs::create_dir(host.path("/run/smbios-creds/domains/web")).unwrap();
    host.restart_libvirtd();
    assert_eq!(host.asked(User::System, &["domstate", "web"]).trim(), "running");
    host.wait_for_nothing_in_memory(User::System);

    host.asked(User::System, &["destroy", "web"]);
    assert_eq!(host.in_memory(User::System), Vec::<PathBuf>::new());
}

/// Asserts that a start fails: virsh prints these words and no value, and no file with a value is left.
fn assert_refused(host: &Host, words: &str, canary: &[u8]) {
    let output = host.virsh(User::System, &["start", "web"]);
    assert_eq!(code(&output), 1, "{words}: {}", stdout(&output));
    assert!(stderr(&output).contains(words), "{words}: {}", stderr(&output));
    assert!(!testkit::holds(&output.stderr, canary), "{}", stderr(&output));
    assert_eq!(host.asked(User::System, &["domstate", "web"]).trim(), "shut off", "{words}");
    assert_eq!(host.in_memory(User::System), Vec::<PathBuf>::new(), "{words}");
    assert_eq!(host.search(canary), Vec::<PathBuf>::new(), "{words}");
}

#[test]
fn libvirt_domain_without_every_credential_does_not_start() {
    let Some(host) = Host::start() else { return };
    let canary = canary();
    host.define(User::System, "web", "web", EMULATOR);
    assert_refused(&host, "domain 'web' has no credentials", &canary);

    let sources = host.path("/etc/smbios-creds/domains/web");
    fs::create_dir_all(&sources).unwrap();
    assert_refused(&host, "domain web has no credentials", &canary);

    host.encrypt("web", "aa", &canary);
    let db = sources.join("db");
    host.encrypt("web", "db", b"");
    assert_refused(&host, "credential db of domain web is empty", &canary);

    host.encrypt("web", "other", &canary);
    fs::rename(sources.join("other"), &db).unwrap();
    assert_refused(&host, "credential db of domain web cannot be decrypted", &canary);

    host.encrypt("web", "db", &canary);
    let whole = fs::read(&db).unwrap();
    let cut = whole.len() / 2;
    fs::write(&db, &whole[..cut]).unwrap();
    assert_refused(&host, "credential db of domain web cannot be decrypted", &canary);

    fs::remove_file(&db).unwrap();
    std::os::unix::fs::symlink("aa", &db).unwrap();
    assert_refused(&host, "credential db of domain web is not a regular file", &canary);

    // With the fault removed, the next start succeeds.
    fs::remove_file(&db).unwrap();
    fs::write(&db, whole).unwrap();
    host.asked(User::System, &["start", "--paused", "web"]);
    assert_eq!(host.in_memory(User::System), Vec::<PathBuf>::new());
}

#[test]
fn libvirt_finds_the_capabilities_of_qemu_itself() {
    let Some(host) = Host::start() else { return };
    let capabilities = |emulator: &str| {
        let words = ["domcapabilities", "--virttype", "qemu", "--machine", "q35", "--emulatorbin", emulator];
        host.asked(User::System, &words).replace(emulator, "EMULATOR")
    };
    let ours = capabilities(EMULATOR);
    assert!(ours.contains("<path>EMULATOR</path>"), "{ours}");
    assert_eq!(ours, capabilities("/usr/bin/qemu-system-x86_64"));
}

#[test]
fn libvirt_domain_destroyed_during_its_start_leaves_no_file() {
    let Some(host) = Host::start() else { return };
    let canary = canary();
    let secrets = secrets(&canary);
    encrypt(&host, "web", &secrets);
    host.define(User::System, "web", "web", EMULATOR);
    let paused = ["virsh", "-q", "-c", "qemu:///system", "start", "--paused", "web"];
    // On a busy machine, this must not become the longest test, so its time is limited.
    let limit = Duration::from_secs(20);
    // In the first start, libvirt asks QEMU for its capabilities. In the second start, it does not, so this start is
    // measured.
    let mut whole = Duration::ZERO;
    for _ in 0..2 {
        let start = Instant::now();
        host.asked(User::System, &paused[4..]);
        whole = start.elapsed();
        host.asked(User::System, &["destroy", "web"]);
    }
    let (begin, mut times, mut ended_early) = (Instant::now(), 0, 0);
    while times < 10 || (times < 100 && begin.elapsed() < limit) {
        let mut start =
            host.command(User::System, &paused).stderr(std::process::Stdio::null()).spawn().unwrap();
        // The fractional parts of multiples of the golden ratio are spread evenly between 0 and 1.
        std::thread::sleep(whole.mul_f64(f64::from(times) * 0.618_034 % 1.0));
        let destroyed = host.virsh(User::System, &["destroy", "web"]).status.success();
        let started = start.wait().unwrap().success();
        ended_early += u32::from(destroyed && !started);
        if started && !destroyed {
            host.asked(User::System, &["destroy", "web"]);
        }
        assert_eq!(host.asked(User::System, &["domstate", "web"]).trim(), "shut off");
        assert_eq!(host.in_memory(User::System), Vec::<PathBuf>::new(), "after start {times}");
        times += 1;
    }
    println!(
        "{times} starts, {ended_early} of which were ended by virsh destroy; a whole one takes {whole:?}"
    );
    assert!(times >= 10 && ended_early > 0, "{times} starts, {ended_early} ended");
    assert_eq!(host.search(&canary), Vec::<PathBuf>::new());
    host.asked(User::System, &["start", "web"]);
    assert_arrived(&host.results_after(User::System, "web", (1, 0)), &secrets);
}

#[test]
fn libvirt_domains_have_their_own_sets_under_any_name() {
    let Some(host) = Host::start() else { return };
    let odd = "a,b=c d";
    let (first, second) = (canary(), canary());
    let sets = [("web", "web", secrets(&first)), (odd, "odd", Secrets::from([("db", second.clone())]))];
    for (name, label, secrets) in &sets {
        encrypt(&host, name, secrets);
        host.define(User::System, name, label, EMULATOR);
    }
    // A domain whose emulator is QEMU itself works as without the hook.
    host.define(User::System, "plain", "plain", "/usr/bin/qemu-system-x86_64");
    let start = |name: &str| {
        let words = ["virsh", "-q", "-c", "qemu:///system", "start", name];
        host.command(User::System, &words).spawn().unwrap()
    };
    for mut child in ["web", odd, "plain"].map(start) {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(host.in_memory(User::System), Vec::<PathBuf>::new());
    for (_, label, secrets) in &sets {
        assert_arrived(&host.results_after(User::System, label, (1, 0)), secrets);
    }
    let plain = host.results_after(User::System, "plain", (1, 0));
    assert!(plain["check"].text().contains("the host sent no credentials"), "{:?}", plain["check"]);
    for canary in [&first, &second] {
        assert_eq!(host.search(canary), Vec::<PathBuf>::new());
    }
}

#[test]
fn libvirt_session_of_an_ordinary_user_has_every_byte_and_shows_none() {
    let Some(host) = Host::start() else { return };
    let canary = canary();
    let secrets = secrets(&canary);
    host.define(User::Session, "web", "web", EMULATOR);
    let refused = host.virsh(User::Session, &["start", "web"]);
    assert!(
        code(&refused) == 1 && stderr(&refused).contains("domain 'web' has no credentials"),
        "{refused:?}"
    );

    // No hook runs in a user's own libvirtd: the user writes the set, and removes it after the domain has started.
    let directory = host.path("/run/user/4711/smbios-creds/domains/web");
    fs::create_dir_all(&directory).unwrap();
    for (name, value) in &secrets {
        fs::write(directory.join(name), value).unwrap();
    }
    let own = ["chown", "-R", "4711:4711", "/run/user/4711/smbios-creds"];
    assert!(host.command(User::System, &own).status().unwrap().success());
    host.asked(User::Session, &["start", "web"]);
    fs::remove_dir_all(directory).unwrap();
    assert_hidden(&host, User::Session, "web", &canary);
    assert_arrived(&host.results_after(User::Session, "web", (1, 0)), &secrets);
    assert_hidden(&host, User::Session, "web", &canary);
}
