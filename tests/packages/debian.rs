//! A root directory of Debian 12 or 13, for one test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testkit::machine::prepared;

/// Returns the paths of the two packages that `./tests/prepare` has built: the host's, then the agent's.
pub(crate) fn packages() -> [PathBuf; 2] {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/package");
    let mut packages: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}: ./tests/prepare makes it", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    packages.sort_by_key(|path| !path.to_str().unwrap().contains("smbios-creds-host_"));
    packages.try_into().unwrap_or_else(|packages| panic!("the host's and the agent's: {packages:?}"))
}

/// Runs a shell script as root, or as root of a user namespace, in new mount and PID namespaces.
pub(crate) fn as_root(script: &str, arguments: &[&Path]) -> Output {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--pid", "--fork", "--kill-child"]);
    if !nix::unistd::geteuid().is_root() {
        unshare.args(["--user", "--map-auto", "--map-root-user"]);
    }
    unshare.args(["--", "sh", "-euc", script, "sh"]).args(arguments).output().unwrap()
}

pub(crate) fn ran(what: &str, output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{stdout}\n{stderr}", output.status);
    stdout + &stderr
}

/// A root directory of Debian, which is removed when this value is dropped.
pub(crate) struct Debian {
    folder: tempfile::TempDir,
}

impl Debian {
    /// Unpacks Debian 12, with neither of our packages.
    pub(crate) fn fresh() -> Self {
        Self::unpacked("debian-12.tar")
    }

    /// Unpacks Debian 13, with neither of our packages.
    pub(crate) fn fresh_13() -> Self {
        Self::unpacked("debian-13.tar")
    }

    fn unpacked(archive: &str) -> Self {
        let debian = Self { folder: tempfile::tempdir().unwrap() };
        // Only the real root can make device files, so `run` bind-mounts /dev of this machine instead.
        let unpack = "mkdir $1/root && tar -xpf $2 -C $1/root --numeric-owner --exclude='./dev/*'";
        let output = as_root(unpack, &[debian.folder.path(), &prepared(archive)]);
        ran("unpacking", &output);
        debian
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Runs a shell script in the root directory (chroot). Asserts that it succeeds, and returns what it prints.
    pub(crate) fn run(&self, script: &str) -> String {
        let enter = "mount --rbind /dev $1/dev; mount -t proc proc $1/proc
            exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive \
            chroot $1 sh -euc \"$2\"";
        ran(script, &as_root(enter, &[&self.root(), Path::new(script)]))
    }

    /// Adds a file to the root directory. A script is executable.
    pub(crate) fn write(&self, path: &str, content: &str) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, content).unwrap();
        let mode = if content.starts_with("#!") { "755" } else { "644" };
        let install = format!("install -D -m {mode} $1 $2");
        ran(path, &as_root(&install, &[&file, &self.root().join(path)]));
    }

    /// Installs packages, and returns what dpkg prints. `inside` are paths in the root directory, `packages` are
    /// outside.
    pub(crate) fn install(&self, inside: &[&str], packages: &[PathBuf]) -> String {
        let mut names: Vec<String> = inside.iter().map(|&name| name.to_owned()).collect();
        for package in packages {
            ran("copying", &as_root("cp $1 $2/", &[package, &self.root()]));
            names.push(format!("/{}", package.file_name().unwrap().to_str().unwrap()));
        }
        self.run(&format!("dpkg --install {} && rm -f /*.deb", names.join(" ")))
    }

    /// Returns every path with its kind, mode, owner and content. For initramfs images, and for files that change with
    /// every installation of a package, returns the path only.
    pub(crate) fn snapshot(&self) -> BTreeMap<String, String> {
        let listing = self.run(
            "find / -xdev \\( -path /proc -o -path /dev -o -path /tmp \\) -prune -o -printf '%p\\t%y %m %U:%G %l\\n'
             find / -xdev \\( -path /proc -o -path /dev -o -path /tmp \\) -prune -o -type f -print0 |
                 xargs -0 sha256sum --zero | tr '\\0\\n' '\\n?' | sed 's/^\\(.\\{64\\}\\)  \\(.*\\)/\\2\\tsum \\1/'",
        );
        let changes = ["/var/lib/dpkg/", "/var/log/", "/var/cache/", "/boot/initrd.img-"];
        let mut snapshot = BTreeMap::new();
        for line in listing.lines() {
            let (path, what) = line.split_once('\t').unwrap_or((line, ""));
            let entry: &mut String = snapshot.entry(path.to_owned()).or_default();
            if !changes.iter().any(|change| path.starts_with(change)) {
                entry.push_str(what);
            }
        }
        assert!(snapshot.len() > 5000 && snapshot["/usr/bin/env"].contains("sum "), "{}", snapshot.len());
        snapshot
    }

    /// Returns the paths of copies of the kernel and of its initramfs image.
    pub(crate) fn kernel_and_image(&self, name: &str) -> (PathBuf, PathBuf) {
        let copy = |file: &str| {
            let target = self.folder.path().join(format!("{file}.{name}"));
            let copy = "cp $1/boot/$3-* $2 && chmod 644 $2";
            ran(file, &as_root(copy, &[&self.root(), &target, Path::new(file)]));
            target
        };
        (copy("vmlinuz"), copy("initrd.img"))
    }

    /// Makes a disk image with the content of the root directory, and returns its path.
    pub(crate) fn disk(&self) -> PathBuf {
        let disk = self.folder.path().join("disk");
        let make = "mke2fs -q -t ext4 -O ^has_journal -E root_owner=0:0 -d $1 $2 1G && chmod 666 $2";
        ran("making a disk", &as_root(make, &[&self.root(), &disk]));
        disk
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        _ = as_root("rm -rf --one-file-system $1", &[&self.root()]);
    }
}
