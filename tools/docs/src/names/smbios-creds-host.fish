# The names of the files in $CREDENTIALS_DIRECTORY that can be names of credentials.
function __smbios_creds_host_names
    test -n "$CREDENTIALS_DIRECTORY"; or return
    for file in $CREDENTIALS_DIRECTORY/* $CREDENTIALS_DIRECTORY/.*
        # From the last slash on: printable ASCII without ':' and '=', not an option.
        set -l name (string match -rg '/((?!-)[ -.0-9;<>-~]+)\z' -- $file)
        test -n "$name" -a -f $file; and echo -- $name
    end
end
