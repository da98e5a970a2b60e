#!/bin/sh
# Imports the credentials before any other hook may need one. dracut sources this script. If the import fails, it
# prints a message, and the boot goes on.

/usr/lib/smbios-creds/initramfs import || :
