//! User name and password: where they come from, and that nobody else reads them.

use core::fmt;
use core::str::FromStr;
use std::io::{self, BufRead};
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::warn;
use crate::encoding;
use crate::fault::Fault;

/// User name and password.
pub(super) type Login = (String, Zeroizing<String>);

#[derive(Debug, clap::Args)]
pub(super) struct LoginArgs {
    /// The user name
    #[arg(short, long)]
    username: Option<String>,
    /// The password; - reads it from standard input. What stands here, other users of this machine
    /// can read
    #[arg(short = 'P', long = "pw", requires = "username")]
    password: Option<Password>,
    /// The file with the password
    #[arg(long, value_name = "FILE", requires = "username", conflicts_with = "password")]
    pw_file: Option<PathBuf>,
}

/// Wiped, and never printed.
#[derive(Clone)]
struct Password(Zeroizing<String>);

impl FromStr for Password {
    type Err = core::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Zeroizing::new(text.into())))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

impl LoginArgs {
    /// User name and password.
    pub(super) fn read(&self) -> Result<Option<Login>, Fault> {
        let Some(name) = &self.username else {
            return Ok(None);
        };
        let password = match (&self.password, &self.pw_file) {
            (None, None) => Zeroizing::default(),
            (_, Some(path)) => first_line(&encoding::read(Some(path))?)?,
            (Some(Password(text)), None) if text.as_str() == "-" => {
                let mut line = Zeroizing::new(String::new());
                io::stdin().lock().read_line(&mut line).map_err(|error| {
                    let what = format!("no password on standard input, {}", error.kind());
                    Fault::new(what, "write it there, or name a file with --pw-file")
                })?;
                first_line(line.as_bytes())?
            }
            (Some(Password(text)), None) => {
                warn("-P shows the password to every user of this machine: use -P - or --pw-file");
                text.clone()
            }
        };
        Ok(Some((name.clone(), password)))
    }
}

fn first_line(bytes: &[u8]) -> Result<Zeroizing<String>, Fault> {
    let no_text = |_| Fault::new("the password is no UTF-8", "check its file");
    let text = core::str::from_utf8(bytes).map_err(no_text)?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let password: Password = "marker-of-a-password".parse().unwrap();
        assert_eq!(format!("{password:?}"), "Password");
    }
}
