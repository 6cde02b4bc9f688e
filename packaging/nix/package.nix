# mailbell for nixpkgs: pkgs.callPackage ./package.nix { }
{ lib, rustPlatform, installShellFiles }:

rustPlatform.buildRustPackage {
  pname = "mailbell";
  version = (lib.importTOML ../../Cargo.toml).package.version;
  src = lib.cleanSource ../..;
  cargoLock.lockFile = ../../Cargo.lock;

  nativeBuildInputs = [ installShellFiles ];

  # The tests open sockets and run programs of /usr; they run in the project's own checks.
  doCheck = false;

  postInstall = ''
    installManPage docs/man/*.1 docs/man/*.5
    installShellCompletion --bash packaging/completions/mailbell.bash
    installShellCompletion --zsh packaging/completions/_mailbell
    installShellCompletion --fish packaging/completions/mailbell.fish
    ln -s mailbell $out/bin/sendmail
  '';

  meta = {
    description = "The mail server that tells your programs";
    license = lib.licenses.mit;
    platforms = lib.platforms.linux;
    mainProgram = "mailbell";
  };
}
