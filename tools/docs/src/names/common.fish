
# Whether the last option takes several names.
function @NAME@_takes_names
    set -l options (string match -r -- '^-.*' (commandline -opc) | string replace -r '=.*' '')
    contains -- "$options[-1]" @OPTIONS@
end
