# Files of trusted keys for `services.smbios-creds.trustedKeys`, by their names. Only a text that is a public key comes
# through, so a secret key is not copied into the Nix store by this module.
{ lib }:
keys:
let
  option = "services.smbios-creds.trustedKeys";

  isFile = key: builtins.isPath key || lib.hasPrefix "/" key;
  isInStore =
    key: builtins.isPath key || lib.hasPrefix "${builtins.storeDir}/" key || lib.hasPrefix "/nix/store/" key;

  # 158 bytes in base64. A public key has 42.
  isSecret = line: builtins.match "[A-Za-z0-9+/=]{212}" line != null;
  isPublic = line: builtins.match "RW[A-Za-z0-9+/]{54}" line != null;

  linesOf =
    text: lib.filter (line: line != "") (lib.splitString "\n" (builtins.replaceStrings [ "\r" ] [ "" ] text));

  # The text of a key as it was given, before anything of it is put into the store.
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
      # The text first: a secret key has another name.
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
    # One name for one key, in every evaluation.
    lib.nameValuePair "${builtins.substring 0 16 (builtins.hashString "sha256" text)}.pub" text;

  pairs = map (key: if isFile key then fileOf key else textOf key) keys;
  names = map (pair: pair.name) pairs;
in
{
  files = builtins.listToAttrs pairs;

  # Names of more than one key.
  twice = builtins.attrNames (
    lib.filterAttrs (name: _: lib.length (lib.filter (other: other == name) names) > 1) (builtins.listToAttrs pairs)
  );
}
