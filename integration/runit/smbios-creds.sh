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

# Stage 1, which runs or sources it. It never ends the boot. To install:
#
#   Void:    cp smbios-creds.sh /etc/runit/core-services/02-smbios-creds.sh
#   Debian:  install -m 755 smbios-creds.sh /etc/init.d/smbios-creds && update-rc.d smbios-creds defaults
#   or what your /etc/runit/1 calls, once /proc, /sys and /run are mounted.
#
# What must be there is said in /etc/default/smbios-creds: OPTIONS="--require db-password --manifest=require"
#
# The exit code goes to /run/smbios-creds.exit, where services that must not start without their secrets look; see app.

(
	OPTIONS=
	[ ! -r /etc/default/smbios-creds ] || . /etc/default/smbios-creds
	/usr/bin/smbios-creds import --allow-none $OPTIONS
	echo $? >/run/smbios-creds.exit.new
	mv /run/smbios-creds.exit.new /run/smbios-creds.exit
)
