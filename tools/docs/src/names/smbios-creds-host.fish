# The names of the files in $CREDENTIALS_DIRECTORY that can be names of credentials.
function __smbios_creds_host_names
    test -n "$CREDENTIALS_DIRECTORY"; or return
    for file in $CREDENTIALS_DIRECTORY/* $CREDENTIALS_DIRECTORY/.*
        # The name after the last slash must be printable ASCII without ':' and '=', and must not start with '-'.
        set -l name (string match -rg '/((?!-)[ -.0-9;<>-~]+)\z' -- $file)
        test -n "$name" -a -f $file; and echo -- $name
    end
end
