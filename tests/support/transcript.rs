//! Transcripts in Markdown: what stands behind `$ ` in console blocks is run by a shell, in one
//! folder, and what it prints has to be what follows. `? N` stands before the output of a command
//! that exits with N.

use core::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

/// Runs what the transcript `text` runs, in `folder`, with our tool in the `PATH`; returns the
/// transcript as it should have been.
pub(crate) fn run(text: &str, folder: &Path, settings: &[(&str, String)]) -> String {
    let (mut now, mut in_console, mut in_output) = (String::new(), false, false);
    for line in text.lines() {
        let fence = line.starts_with("```");
        if fence {
            in_console = line == "```console";
            in_output = false;
        }
        if let Some(command) = line.strip_prefix("$ ").filter(|_| in_console) {
            in_output = true;
            writeln!(now, "{line}\n{}", shell(command, folder, settings).trim_end()).unwrap();
            now.truncate(now.trim_end().len() + 1);
        } else if !in_output {
            writeln!(now, "{line}").unwrap();
        }
    }
    now
}

/// What a shell prints, on both outputs, and its exit status unless it is 0.
fn shell(command: &str, folder: &Path, settings: &[(&str, String)]) -> String {
    let output = folder.join(".output");
    // examples name the usual port
    let command = command.replace(" -p 1883 ", " -p $PORT ");
    let status = into_file(&command, folder, &output)
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .status()
        .unwrap();
    let text = String::from_utf8_lossy(&fs::read(&output).unwrap()).into_owned();
    let code = status.code().expect("no signal ends a shell");
    if code == 0 { text } else { format!("? {code}\n{text}") }
}

/// A shell that runs `command` in `folder`, with our tool in the `PATH`, and prints into `output`.
pub(crate) fn into_file(command: &str, folder: &Path, output: &Path) -> Command {
    let file = fs::File::create(output).unwrap();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .current_dir(folder)
        .env("PATH", path())
        .env_remove("MQTT_SEAL_KEYS")
        .env_remove("MQTT_SEAL_POLICY")
        .env("RUST_BACKTRACE", "0")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file);
    shell
}

fn path() -> std::ffi::OsString {
    let tool = Path::new(env!("CARGO_BIN_EXE_mqtt-seal")).parent().unwrap();
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![tool.to_owned()];
    folders.extend(env::split_paths(&path));
    folders.extend(["/usr/sbin", "/usr/local/sbin"].map(Into::into));
    env::join_paths(folders).unwrap()
}
