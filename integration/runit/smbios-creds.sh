#!/bin/sh
### BEGIN INIT INFO
# Provides:          smbios-creds
# Required-Start:    mountkernfs
# Required-Stop:
# X-Start-Before:    checkroot cryptdisks-early hostname
# Default-Start:     S
# Default-Stop:
# Short-Description: Credentials from SMBIOS
### END INIT INFO

# Stage 1 of runit runs or sources this script. A failed import does not end the boot. To install:
#
#   Void:    cp smbios-creds.sh /etc/runit/core-services/02-smbios-creds.sh
#   Debian:  install -m 755 smbios-creds.sh /etc/init.d/smbios-creds && update-rc.d smbios-creds defaults
#   Others:  call smbios-creds.sh in your /etc/runit/1 after /proc, /sys and /run are mounted.
#
# Name the required credentials in /etc/default/smbios-creds: OPTIONS="--require db-password --manifest=require"
#
# The script writes the exit code of the import to /run/smbios-creds.exit. Services that must not start without their
# secrets read this file; see app.

(
	OPTIONS=
	[ ! -r /etc/default/smbios-creds ] || . /etc/default/smbios-creds
	/usr/bin/smbios-creds import --allow-none $OPTIONS
	echo $? >/run/smbios-creds.exit.new
	mv /run/smbios-creds.exit.new /run/smbios-creds.exit
)
