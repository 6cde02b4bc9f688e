# A NixOS module:
#
#   imports = [ /path/to/mailbell/packaging/nix/module.nix ];
#   services.mailbell = {
#     enable = true;
#     openFirewall = true;
#     settings = { hostname = "mail.example.org"; domains = [ "example.org" ]; };
#     onMail.printer = pkgs.writeShellScript "printer" ''lp "$MAILBELL_PATH"'';
#   };
#
# Accounts: `mailbell user add NAME` as root; they are in /var/lib/mailbell-accounts, as /etc is made anew by each switch.
{ config, lib, pkgs, ... }:

let
  cfg = config.services.mailbell;
  format = pkgs.formats.toml { };
  file = format.generate "mailbell.toml" cfg.settings;
in
{
  options.services.mailbell = {
    enable = lib.mkEnableOption "mailbell, the mail server that tells your programs";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      description = "The package to use.";
    };

    settings = lib.mkOption {
      inherit (format) type;
      default = { };
      example = { hostname = "mail.example.org"; domains = [ "example.org" ]; };
      description = "The content of mailbell.toml; see mailbell.toml(5).";
    };

    openFirewall = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Opens port 25, for mail from other servers. Further ports are opened by networking.firewall.";
    };

    secrets = lib.mkOption {
      type = lib.types.attrsOf lib.types.str;
      default = { };
      example = { "work.pw" = "/run/secrets/work.pw"; };
      description = ''
        Files with secrets, by name. The settings name them as /run/credentials/mailbell.service/NAME.
      '';
    };

    onMail = lib.mkOption {
      type = lib.types.attrsOf lib.types.path;
      default = { };
      description = "Programs that run for each new message as the user mailbell-watch, by name.";
    };
  };

  config = lib.mkIf cfg.enable {
    services.mailbell.settings = {
      users = {
        file = lib.mkDefault "/var/lib/mailbell-accounts/users";
        aliases = lib.mkDefault "/var/lib/mailbell-accounts/aliases";
      };
    };

    environment.systemPackages = [ cfg.package ];
    environment.etc."mailbell/mailbell.toml".source = file;

    users.users.mailbell = { isSystemUser = true; group = "mailbell"; home = "/var/lib/mailbell"; extraGroups = [ "mail" ]; };
    users.users.mailbell-watch = { isSystemUser = true; group = "mailbell-watch"; };
    users.groups = { mailbell = { }; mailbell-watch = { }; mail = { }; };

    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall [ 25 ];

    systemd.tmpfiles.rules = [
      "d /run/mail 0755 mailbell mail -"
      "d /var/lib/mailbell 0750 mailbell mail -"
      "d /var/lib/mailbell-accounts 0750 root mail -"
      "f /var/lib/mailbell-accounts/users 0640 root mail -"
      "f /var/lib/mailbell-accounts/aliases 0640 root mail -"
    ];

    # The same rules as in packaging/mailbell.service; docs/hardening.md says why.
    systemd.services = {
      mailbell = {
        description = "mailbell, the mail server that tells your programs";
        wantedBy = [ "multi-user.target" ];
        after = [ "network.target" ];
        restartTriggers = [ file ];
        serviceConfig = {
          Type = "notify";
          ExecStartPre = "${cfg.package}/bin/mailbell check";
          ExecStart = "${cfg.package}/bin/mailbell serve";
          ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
          User = "mailbell";
          Group = "mail";
          UMask = "0027";
          StateDirectory = "mailbell";
          StateDirectoryMode = "0750";
          RuntimeDirectory = "mail";
          RuntimeDirectoryMode = "0755";
          RuntimeDirectoryPreserve = true;
          Restart = "on-failure";
          TimeoutStopSec = 30;
          LimitNOFILE = 8192;
          LimitCORE = 0;
          LoadCredential = lib.mapAttrsToList (name: path: "${name}:${path}") cfg.secrets;
          AmbientCapabilities = [ "CAP_NET_BIND_SERVICE" ];
          CapabilityBoundingSet = [ "CAP_NET_BIND_SERVICE" ];
          ProtectSystem = "full";
          ProtectHome = "read-only";
          PrivateTmp = true;
          ProtectControlGroups = true;
          ProtectProc = "invisible";
          KeyringMode = "private";
          RemoveIPC = true;
        };
      };
    } // lib.mapAttrs' (name: program: lib.nameValuePair "mailbell-watch-${name}" {
      description = "mailbell: ${name}, for each new message";
      wantedBy = [ "multi-user.target" ];
      wants = [ "mailbell.service" ];
      after = [ "mailbell.service" ];
      unitConfig.AssertPathIsDirectory = "/var/lib/mailbell/cursors";
      serviceConfig = {
        ExecStart = "${cfg.package}/bin/mailbell watch --cursor ${name} -- ${program}";
        User = "mailbell-watch";
        SupplementaryGroups = [ "mail" ];
        UMask = "0027";
        StateDirectory = "mailbell-watch/${name}";
        StateDirectoryMode = "0750";
        BindPaths = [ "/var/lib/mailbell-watch/${name}:/var/lib/mailbell/cursors" ];
        Restart = "always";
        RestartSec = 1;
        LimitCORE = 0;
        ProtectSystem = "full";
        ProtectHome = "read-only";
        PrivateTmp = true;
        ProtectControlGroups = true;
      };
    }) cfg.onMail;
  };
}
