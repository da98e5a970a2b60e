# A stand-in for nixpkgs' lib, for machines without nixpkgs. It has the part of the module system and the functions that
# the modules and tests use, as the NixOS manual describes them. With NIXPKGS_LIB set, the tests use the real lib.
let
  inherit (builtins)
    all
    any
    attrNames
    attrValues
    concatLists
    concatMap
    concatStringsSep
    elem
    filter
    foldl'
    genList
    hasAttr
    head
    isAttrs
    isBool
    isFunction
    isInt
    isList
    isPath
    isString
    length
    listToAttrs
    mapAttrs
    match
    removeAttrs
    replaceStrings
    sort
    stringLength
    substring
    tail
    ;

  isType = type: value: isAttrs value && value._type or null == type;
  shown = concatStringsSep ".";
  unique = foldl' (seen: item: if elem item seen then seen else seen ++ [ item ]) [ ];

  # Returns the definitions in a value: the plain values inside mkIf, mkMerge, mkOverride and mkOrder.
  definitions =
    value:
    if isType "merge" value then
      concatMap definitions value.contents
    else if isType "if" value then
      if value.condition then definitions value.content else [ ]
    else if isType "override" value then
      map (definition: definition // { inherit (value) priority; }) (definitions value.content)
    else if isType "order" value then
      map (definition: definition // { inherit (value) priority'; }) (definitions value.content)
    else
      [
        {
          priority = 100;
          priority' = 1000;
          inherit value;
        }
      ];

  # Returns the attribute sets in a value. A mkIf or mkOverride around a set is moved to each of its attributes.
  sets =
    value:
    let
      inside = wrap: map (mapAttrs (_: wrap)) (sets value.content);
    in
    if isType "merge" value then
      concatMap sets value.contents
    else if isType "if" value then
      inside (content: {
        _type = "if";
        inherit (value) condition;
        inherit content;
      })
    else if isType "override" value then
      inside (content: value // { inherit content; })
    else
      [ value ];

  mergeAll =
    type: path: values:
    let
      all' = concatMap definitions values;
      lowest = foldl' (lowest: d: if d.priority < lowest then d.priority else lowest) 9999 all';
      kept = sort (a: b: a.priority' < b.priority') (filter (d: d.priority == lowest) all');
      wrong = filter (d: !(type.check d.value)) kept;
    in
    if all' == [ ] then
      throw "The option `${shown path}' was accessed but has no value defined. Try setting the option."
    else if wrong != [ ] then
      throw "A definition for option `${shown path}' is not of type `${type.name}'."
    else
      type.merge path (map (d: d.value) kept);

  one =
    path: values:
    if all (value: value == head values) values then
      head values
    else
      throw "The option `${shown path}' has conflicting definition values.";

  simple = name: check: {
    inherit name check;
    merge = one;
  };

  declare =
    a: b:
    if isType "option" a && isType "option" b then
      a // b
    else
      mapAttrs (name: _: if !(a ? ${name}) then b.${name} else if !(b ? ${name}) then a.${name} else declare a.${name} b.${name}) (
        a // b
      );

  lib = {
    inherit
      all
      any
      attrNames
      attrValues
      concatLists
      concatMap
      concatStringsSep
      elem
      filter
      genList
      head
      length
      mapAttrs
      removeAttrs
      tail
      ;

    evalModules =
      {
        modules,
        specialArgs ? { },
        prefix ? [ ],
      }:
      let
        arguments = {
          inherit lib;
        }
        // specialArgs
        // {
          inherit config options;
        };
        load =
          seen: modules:
          foldl' (
            seen: module:
            let
              key = if isPath module || isString module then toString module else null;
              value = if key != null then import module else module;
              called = if isFunction value then value arguments else value;
              loaded = load (seen // { keys = seen.keys ++ [ key ]; }) (called.imports or [ ]);
            in
            if key != null && elem key seen.keys then
              seen
            else
              loaded // { all = loaded.all ++ [ (removeAttrs called [ "imports" ]) ]; }
          ) seen modules;
        loaded =
          (load {
            keys = [ ];
            all = [ ];
          } modules).all;
        declared = foldl' declare { } (map (module: module.options or { }) loaded);
        options = withDefinitions declared configs;
        # Adds to each option its definitions of the lowest priority number. This stand-in does not know their files.
        withDefinitions =
          options: values:
          mapAttrs (
            name: option:
            let
              found = concatMap definitions (map (set: set.${name}) (filter (hasAttr name) (concatMap sets values)));
              lowest = foldl' (lowest: d: if d.priority < lowest then d.priority else lowest) 9999 found;
            in
            if isType "option" option then
              option
              // {
                definitionsWithLocations = map (d: {
                  file = "<unknown-file>";
                  inherit (d) value;
                }) (filter (d: d.priority == lowest) found);
              }
            else
              withDefinitions option (map (set: set.${name}) (filter (hasAttr name) (concatMap sets values)))
          ) options;
        configs = map (module: if module ? options || module ? config then module.config or { } else module) loaded;
        evaluate =
          path: options: values:
          let
            members = concatMap sets values;
            unknown = filter (name: !(options ? ${name})) (concatMap attrNames members);
            member =
              name: option:
              let
                here = path ++ [ name ];
                values = map (set: set.${name}) (filter (hasAttr name) members);
              in
              if isType "option" option then
                (option.apply or (value: value)) (
                  mergeAll (option.type or lib.types.raw) here (
                    values
                    ++ (if option ? default then [ (lib.mkOverride 1500 option.default) ] else [ ])
                  )
                )
              else
                evaluate here option values;
          in
          if unknown != [ ] then
            throw "The option `${shown (path ++ [ (head unknown) ])}' does not exist."
          else
            mapAttrs member options;
        config = evaluate prefix declared configs;
      in
      {
        inherit config options;
      };

    mkOption = option: option // { _type = "option"; };
    mkEnableOption =
      what:
      lib.mkOption {
        type = lib.types.bool;
        default = false;
        description = "Whether to enable ${what}.";
      };
    mkIf = condition: content: {
      _type = "if";
      inherit condition content;
    };
    mkMerge = contents: {
      _type = "merge";
      inherit contents;
    };
    mkOverride = priority: content: {
      _type = "override";
      inherit priority content;
    };
    mkForce = lib.mkOverride 50;
    mkDefault = lib.mkOverride 1000;
    mkBefore = content: {
      _type = "order";
      priority' = 500;
      inherit content;
    };
    mkAfter = content: {
      _type = "order";
      priority' = 1500;
      inherit content;
    };
    literalExpression = text: text;

    types = {
      raw = simple "raw value" (_: true) // {
        merge = path: values: if length values == 1 then head values else one path values;
      };
      bool = simple "boolean" isBool;
      int = simple "integer" isInt;
      ints.between =
        low: high: simple "integer between ${toString low} and ${toString high}" (value: isInt value && low <= value && value <= high);
      str = simple "string" isString;
      path = simple "path" (value: isPath value || isString value && substring 0 1 value == "/");
      package = simple "package" (value: value.type or null == "derivation") // {
        merge = _: head;
      };
      enum = values: simple "one of ${toString values}" (value: elem value values);
      strMatching = pattern: simple "string matching the pattern ${pattern}" (value: isString value && match pattern value != null);
      either = a: b: simple "${a.name} or ${b.name}" (value: a.check value || b.check value);
      nullOr = type: type // {
        name = "null or ${type.name}";
        check = value: value == null || type.check value;
        merge = path: values: if all (value: value == null) values then null else type.merge path values;
      };
      lines = simple "strings concatenated with \"\\n\"" isString // {
        merge = _: concatStringsSep "\n";
      };
      listOf = type: {
        name = "list of ${type.name}";
        check = isList;
        merge = path: values: map (value: mergeAll type path [ value ]) (concatLists values);
      };
      attrsOf = type: {
        name = "attribute set of ${type.name}";
        check = isAttrs;
        merge =
          path: values:
          listToAttrs (
            map (name: {
              inherit name;
              value = mergeAll type (path ++ [ name ]) (map (value: value.${name}) (filter (hasAttr name) values));
            }) (unique (concatMap attrNames values))
          );
      };
      submodule = module: {
        name = "submodule";
        check = isAttrs;
        merge =
          path: values:
          (lib.evalModules {
            modules = [ module ] ++ map (config: { inherit config; }) values;
            specialArgs.name = lib.last path;
            prefix = path;
          }).config;
      };
    };

    last = list: builtins.elemAt list (length list - 1);
    optional = condition: item: lib.optionals condition [ item ];
    optionals = condition: list: if condition then list else [ ];
    optionalString = condition: string: if condition then string else "";
    optionalAttrs = condition: set: if condition then set else { };
    subtractLists = unwanted: filter (item: !(elem item unwanted));
    genAttrs =
      names: function:
      listToAttrs (map (name: lib.nameValuePair name (function name)) names);
    nameValuePair = name: value: { inherit name value; };
    mapAttrs' = function: set: listToAttrs (lib.mapAttrsToList function set);
    mapAttrsToList = function: set: map (name: function name set.${name}) (attrNames set);
    filterAttrs =
      predicate: set: removeAttrs set (filter (name: !(predicate name set.${name})) (attrNames set));
    concatMapStrings = function: list: concatStringsSep "" (map function list);
    concatMapStringsSep = separator: function: list: concatStringsSep separator (map function list);

    hasPrefix = prefix: string: substring 0 (stringLength prefix) string == prefix;
    hasInfix = infix: string: replaceStrings [ infix ] [ "" ] string != string;
    splitString = separator: string: filter isString (builtins.split (lib.escapeRegex separator) string);
    escapeRegex = replaceStrings [ "." "*" "+" "?" "|" "(" ")" "[" "{" ] [ "\\." "\\*" "\\+" "\\?" "\\|" "\\(" "\\)" "\\[" "\\{" ];
    escapeShellArg =
      argument:
      let
        string = toString argument;
      in
      if match "[[:alnum:],._+:@%/-]+" string != null then string else "'${replaceStrings [ "'" ] [ "'\\''" ] string}'";
    escapeShellArgs = lib.concatMapStringsSep " " lib.escapeShellArg;
    versionAtLeast = a: b: builtins.compareVersions a b >= 0;
    trivial.release = "25.11";
    licenses = {
      mit = "mit";
      asl20 = "asl20";
    };

    fileset = {
      unions = files: files;
      toSource =
        { root, fileset }:
        builtins.path {
          path = root;
          name = "source";
          filter =
            path: type:
            any (
              file:
              path == toString file
              || lib.hasPrefix "${toString file}/" path
              || type == "directory" && lib.hasPrefix "${path}/" (toString file)
            ) fileset;
        };
    };
  };
in
lib
