//! What the script `integration/initramfs/initramfs` does for each kind of init. Stand-ins for the agent, `mount`,
//! `umount` and `modprobe` record how the script calls them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

/// The script in a temporary directory. Its absolute paths are changed to paths in this directory, so it reads nothing
/// of the running system.
pub(crate) struct Initramfs {
    folder: tempfile::TempDir,
}

impl Initramfs {
    /// Sets up the script with a stand-in for the agent that ends with this exit code.
    pub(crate) fn new(exit: u8) -> Self {
        let initramfs = Self { folder: tempfile::tempdir().unwrap() };
        let program = |path: &str, text: &str| {
            let path = initramfs.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        };
        let calls = initramfs.path().join("calls").display().to_string();
        let record =
            format!("#!/bin/sh\n{{ printf %s \"${{0##*/}}\"; printf ' <%s>' \"$@\"; echo; }} >>{calls}\n");
        program("usr/bin/smbios-creds", &format!("{record}echo a listing\nexit {exit}\n"));
        program("bin/umount", &record);
        program("bin/mount", &record);
        program("bin/modprobe", &record);
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/initramfs/initramfs");
        let text = ["/usr/bin/smbios-creds", "/etc/smbios-creds", "/run/credentials"].into_iter().fold(
            fs::read_to_string(source).unwrap(),
            |text, path| {
                assert!(text.contains(path), "{path}");
                text.replace(path, &format!("{}{path}", initramfs.path().display()))
            },
        );
        program("usr/lib/smbios-creds/initramfs", &text);
        initramfs
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Adds a new root in which init is a file, or a chain of links to a file.
    fn root(self, init: &str, links: &[(&str, &str)]) -> Self {
        let below = |path: &str| {
            let path = self.path().join("new-root").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        for (path, target) in links {
            symlink(target, below(path)).unwrap();
        }
        fs::write(below(init), "").unwrap();
        self
    }

    /// Adds the directory of imported credentials, and a new root whose init is systemd.
    pub(crate) fn systemd_root(self) -> Self {
        self.root("lib/systemd/systemd", &[("sbin/init", "/lib/systemd/systemd")]).imported()
    }

    fn options(self, text: &str) -> Self {
        let folder = self.path().join("etc/smbios-creds");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("options"), text).unwrap();
        self
    }

    fn imported(self) -> Self {
        fs::create_dir_all(self.path().join("run/credentials/@system")).unwrap();
        self
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.path().join("bin").display());
        Command::new(self.path().join("usr/lib/smbios-creds/initramfs"))
            .args(arguments)
            .env("PATH", path)
            .current_dir("/")
            .output()
            .unwrap()
    }

    fn hand_over(&self, init: &str) -> Output {
        let root = self.path().join("new-root");
        self.run(&["hand-over", root.to_str().unwrap(), init])
    }

    /// Returns the recorded calls, without the path of the temporary directory.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path().join("calls")).unwrap_or_default();
        calls.lines().map(|line| line.replace(self.path().to_str().unwrap(), "")).collect()
    }
}

const HANDED_OVER: [&str; 2] =
    ["smbios-creds <import> <--allow-none> <--into> <initrd>", "umount <-l> </run/credentials/@system>"];

#[test]
fn every_way_to_systemd_is_recognized_as_the_new_root_will_see_it() {
    let usr = [("lib", "usr/lib"), ("sbin", "usr/sbin")];
    let real = "usr/lib/systemd/systemd";
    let debian = ("usr/sbin/init", "/lib/systemd/systemd");
    let relative = ("usr/sbin/init", "../lib/systemd/systemd");
    let chain = [("usr/sbin/init", "/etc/init"), ("etc/init", "../lib/systemd/systemd")];
    for (links, init) in [
        ([&usr[..], &[debian]].concat(), "/sbin/init"),
        ([&usr[..], &[relative]].concat(), "/sbin/init"),
        ([&usr[..], &chain].concat(), "/sbin/init"),
        (usr.to_vec(), "/lib/systemd/systemd"),
        (usr.to_vec(), "/usr/lib/systemd/systemd"),
    ] {
        let initramfs = Initramfs::new(0).root(real, &links).imported();
        let output = initramfs.hand_over(init);
        assert_eq!(output.status.code(), Some(0), "{links:?}: {output:?}");
        assert_eq!(initramfs.calls(), HANDED_OVER, "{links:?} {init}");
        assert!(!initramfs.path().join("run/credentials/@system").exists(), "{links:?}");
    }
}

#[test]
fn another_init_finds_the_credentials_where_they_are() {
    // In this root, systemd exists, but init is another program.
    let busybox = [("sbin/init", "/bin/busybox"), ("usr/lib/systemd/systemd", "/bin/busybox")];
    let itself = [("sbin/init", "init")];
    for (file, links, init) in [
        ("sbin/init", &[][..], "/sbin/init"),
        ("bin/busybox", &busybox[..], "/sbin/init"),
        ("bin/sh", &[], "/bin/sh"),
        ("bin/sh", &[], "/missing"),
        ("bin/sh", &itself[..], "/sbin/init"),
    ] {
        let initramfs = Initramfs::new(0).root(file, links).imported();
        assert_eq!(initramfs.hand_over(init).status.code(), Some(0), "{file} {init}");
        assert_eq!(initramfs.calls(), Vec::<String>::new(), "{file} {init}");
    }
}

#[test]
fn where_nothing_was_imported_there_is_nothing_to_hand_over() {
    let initramfs = Initramfs::new(0).root("lib/systemd/systemd", &[]);
    assert_eq!(initramfs.hand_over("/lib/systemd/systemd").status.code(), Some(0));
    assert_eq!(initramfs.calls(), Vec::<String>::new());
}

#[test]
fn a_failed_verdict_is_handed_on_and_systemds_folder_is_cleared_all_the_same() {
    let initramfs = Initramfs::new(3).root("lib/systemd/systemd", &[]).imported();
    assert_eq!(initramfs.hand_over("/lib/systemd/systemd").status.code(), Some(3));
    assert_eq!(initramfs.calls(), HANDED_OVER);
    assert!(!initramfs.path().join("run/credentials/@system").exists());
    let output = initramfs.run(&["import"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), &b""[..]));
}

#[test]
fn both_imports_have_the_options_of_every_stage_and_a_name_is_no_pattern() {
    let initramfs = Initramfs::new(0)
        .root("lib/systemd/systemd", &[])
        .options("# a comment\nOPTIONS=\"--require db /*\"\n")
        .imported();
    assert!(initramfs.run(&["import"]).status.success());
    assert!(initramfs.hand_over("/lib/systemd/systemd").status.success());
    assert_eq!(
        initramfs.calls(),
        [
            "modprobe <-q> <dmi-sysfs>",
            "modprobe <-q> <qemu_fw_cfg>",
            "smbios-creds <import> <--allow-none> <--require> <db> </*>",
            "smbios-creds <import> <--allow-none> <--into> <initrd> <--require> <db> </*>",
            "umount <-l> </run/credentials/@system>",
        ]
    );
}

impl Initramfs {
    /// Adds credentials with the names `system` to `@system`, and with the names `initrd` to `@initrd`.
    fn holding(self, system: &[&str], initrd: &[&str]) -> Self {
        for (place, names) in [("@system", system), ("@initrd", initrd)] {
            let folder = self.path().join("run/credentials").join(place);
            fs::create_dir_all(&folder).unwrap();
            for name in names {
                fs::write(folder.join(name), "value").unwrap();
            }
        }
        self
    }
}

#[test]
fn only_copy_stays_mounted_if_copying_failed() {
    for (exit, copied, expected) in [
        (1, &[][..], 1),
        (2, &["a", "b"], 2),
        (5, &[], 5),
        (101, &[], 101),
        (0, &["a"], 1),
        (0, &["b"], 1),
        (3, &["a"], 3),
    ] {
        let initramfs = Initramfs::new(exit).systemd_root().holding(&["a", "b"], copied);
        let output = initramfs.hand_over("/sbin/init");
        assert_eq!(output.status.code(), Some(expected), "{exit} {copied:?}: {output:?}");
        let writable = "mount <-o> <remount,bind,rw,nosuid,nodev,noexec> </run/credentials/@system>";
        assert_eq!(initramfs.calls(), [HANDED_OVER[0], writable], "{exit} {copied:?}: nothing is unmounted");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains("@system stays mounted"), "{message}");
        assert_eq!(fs::read(initramfs.path().join("run/credentials/@system/a")).unwrap(), b"value");
    }
    for exit in [0, 3] {
        // The agent never writes a name with a dot at its beginning to @initrd.
        let initramfs = Initramfs::new(exit).systemd_root().holding(&["a", "b", ".c"], &["a", "b", "other"]);
        initramfs.hand_over("/sbin/init");
        assert_eq!(initramfs.calls(), HANDED_OVER, "{exit}: all is copied");
    }
}

#[test]
fn place_of_the_early_import_is_not_that_of_the_hand_over() {
    for options in [
        "--into system --strict",
        "--into=/run/mine --strict",
        "--strict --into /run/mine",
        "--strict --into",
    ] {
        let initramfs = Initramfs::new(0).systemd_root().options(&format!("OPTIONS=\"{options}\"\n"));
        initramfs.hand_over("/sbin/init");
        assert_eq!(
            initramfs.calls(),
            ["smbios-creds <import> <--allow-none> <--into> <initrd> <--strict>", HANDED_OVER[1]],
            "{options}"
        );
    }
}

#[test]
fn another_word_is_refused() {
    let initramfs = Initramfs::new(0);
    assert_eq!(initramfs.run(&["handover"]).status.code(), Some(2));
    assert_eq!(initramfs.calls(), Vec::<String>::new());
}
