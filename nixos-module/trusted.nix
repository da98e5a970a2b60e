# Returns the files of trusted keys for `services.smbios-creds.trustedKeys`, by their names. It throws for any text
# that is not a public key, so this module copies no secret key into the Nix store.
{ lib }:
keys:
let
  option = "services.smbios-creds.trustedKeys";

  isFile = key: builtins.isPath key || lib.hasPrefix "/" key;
  isInStore =
    key: builtins.isPath key || lib.hasPrefix "${builtins.storeDir}/" key || lib.hasPrefix "/nix/store/" key;

  # A secret key has 158 bytes, which are 212 characters in base64. A public key has 42 bytes.
  isSecret = line: builtins.match "[A-Za-z0-9+/=]{212}" line != null;
  isPublic = line: builtins.match "RW[A-Za-z0-9+/]{54}" line != null;

  linesOf =
    text: lib.filter (line: line != "") (lib.splitString "\n" (builtins.replaceStrings [ "\r" ] [ "" ] text));

  # Returns the lines of a key. It throws for a text that is not a public key, before any of the text is in the store.
  read =
    shown: text:
    let
      lines = linesOf text;
      hasComment = lines != [ ] && lib.hasPrefix "untrusted comment:" (lib.head lines);
      rest = if hasComment then lib.tail lines else lines;
    in
    if lib.any isSecret lines then
      throw ''
        ${option}: ${shown} is a minisign SECRET key, which belongs on no machine that only verifies. Everybody can read
        what is in the Nix store. Give the public key (the .pub file), and replace the key if it was in a flake.''
    else if lib.length rest != 1 || !isPublic (lib.head rest) then
      throw ''
        ${option}: ${shown} is no public key of minisign: one line of 56 characters that starts with RW, after an
        "untrusted comment:" line or without one.''
    else
      lib.concatMapStringsSep "" (line: line + "\n") lines;

  fileOf =
    key:
    let
      name = baseNameOf (toString key);
      text = read (toString key) (builtins.readFile key);
    in
    if !isInStore key then
      throw ''
        ${option}: ${key} is a path of the running system, which the initrd does not have. Write a path literal without
        quotation marks, or the text of the key.''
    else
      # Check the text first: the file of a secret key has another name, but the message must say that it is a secret
      # key.
      builtins.seq text (
        if builtins.match "[A-Za-z0-9_@+.-]+[.]pub" name == null then
          throw ''
            ${option}: ${toString key} needs another name: letters, digits and "_@+.-", with ".pub" at its end. The guest
            trusts no key in a directory that holds another file.''
        else
          lib.nameValuePair name text
      );

  textOf =
    key:
    let
      text = read "a text" key;
    in
    # The hash gives a key the same file name in every evaluation.
    lib.nameValuePair "${builtins.substring 0 16 (builtins.hashString "sha256" text)}.pub" text;

  pairs = map (key: if isFile key then fileOf key else textOf key) keys;
  names = map (pair: pair.name) pairs;
in
{
  files = builtins.listToAttrs pairs;

  # File names that more than one key has.
  twice = builtins.attrNames (
    lib.filterAttrs (name: _: lib.length (lib.filter (other: other == name) names) > 1) (builtins.listToAttrs pairs)
  );
}
