# This script is PID 1 of a host that only has libvirt. libvirt reads and writes in file systems of its own, in memory.
# Arguments: the project, the emulator, the kernel, the initrd. The script ends when its stdin ends, and every process of the
# host ends with it.
project=$1 emulator=$2 kernel=$3 initrd=$4
umask 022

mount -t tmpfs -o mode=755 tmpfs /run
cp -a /etc /run/etc
for directory in /etc /mnt /usr/local/bin /var/log /var/lib/libvirt /var/cache/libvirt /var/lib/systemd; do
    mount -t tmpfs -o mode=755 tmpfs "$directory"
done
# If /dev/kvm cannot be opened, libvirt takes its cached capabilities of QEMU for outdated, and asks QEMU again at each step. So
# /dev/kvm is the device of /dev/null here, which QEMU cannot use as KVM. QEMU goes on without KVM.
mkdir /run/dev
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /run/dev
umount --recursive --lazy /dev || true
mount -t tmpfs -o mode=755 tmpfs /dev
cp -a /run/dev/. /dev
rm -r /run/dev
mkdir /dev/pts /dev/shm
mount -t devpts -o newinstance,ptmxmode=666,gid=5 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd
mknod -m 666 /dev/kvm c 1 3

# The host gets neither the cgroups nor the D-Bus of the machine that runs the tests: libvirt works without them.
umount --recursive --lazy /sys/fs/cgroup || true
cp -a /run/etc/. /etc
rm -rf /run/etc /etc/libvirt/hooks /etc/libvirt/qemu/* /etc/smbios-creds

# systemd-creds binds its key to the machine ID.
tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
printf 'tester:x:4711:4711::/run/user/4711:/bin/sh\n' >>/etc/passwd
printf 'tester:x:4711:\n' >>/etc/group
install -d -o 4711 -g 4711 -m 700 /run/user/4711
# The rules for AppArmor are for the emulator in /usr/bin, and their enforcement is not tested here.
printf 'security_driver = "none"\n' >>/etc/libvirt/qemu.conf

install -D -m 755 "$project/integration/libvirt/smbios-creds" /etc/libvirt/hooks/qemu.d/smbios-creds
install -m 755 "$emulator" /usr/local/bin/smbios-creds-host
ln -s smbios-creds-host /usr/local/bin/qemu-with-credentials
install -m 644 "$kernel" /mnt/kernel
install -m 644 "$initrd" /mnt/initrd

virtlogd </dev/null >/var/log/virtlogd 2>&1 &
libvirtd </dev/null >/var/log/libvirtd 2>&1 &
until virsh -q -c qemu:///system list >/dev/null 2>&1; do
    kill -0 $! || { cat /var/log/libvirtd >&2; exit 1; }
    sleep 0.1
done
echo ready
cat
