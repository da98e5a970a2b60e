#!/bin/bash
# Puts the agent into the images of dracut, with systemd as their PID 1 or without. To install manually, put the static
# agent at /usr/bin/smbios-creds, the units of integration/systemd/ next to systemd's own units,
# integration/initramfs/initramfs at /usr/lib/smbios-creds/ (executable), and this directory at
# /usr/lib/dracut/modules.d/90smbios-creds/. Then run dracut --force.

check() {
    require_binaries /usr/bin/smbios-creds || return 1
    return 0
}

depends() {
    return 0
}

installkernel() {
    hostonly='' instmods dmi-sysfs qemu_fw_cfg
}

install() {
    inst_binary /usr/bin/smbios-creds
    # Without the trusted keys, the agent in the image would accept sets that nobody has signed.
    inst_multiple -o /etc/smbios-creds/options "/etc/smbios-creds/trusted/*"
    # shellcheck disable=SC2154 # variables and functions are dracut's
    if dracut_module_included systemd; then
        inst_multiple -o "$systemdsystemunitdir/smbios-creds-initrd.service" \
            "$systemdsystemconfdir/smbios-creds-initrd.service.d/*.conf"
        $SYSTEMCTL -q --root "$initdir" enable smbios-creds-initrd.service
    else
        inst_multiple modprobe readlink rmdir umount
        inst_script /usr/lib/smbios-creds/initramfs
        inst_hook pre-udev 10 "$moddir/import.sh"
        inst_hook cleanup 90 "$moddir/hand-over.sh"
    fi
}
