//! The command that connects standard input and output to a machine.

use std::process::Command;
use std::time::Duration;

/// A way to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// The system's ssh, so that agents, jump hosts, hardware keys and `~/.ssh/config`
    /// just work. Nothing is ever said about host keys: checking them is the user's.
    Ssh {
        /// The command, as a shell reads it.
        command: String,
        /// `[USER@]HOST`; never begins with `-`.
        address: String,
    },
    /// A cluster's `srun`: one allocation a connection.
    Slurm {
        /// Options of `srun`.
        options: Vec<String>,
    },
    /// Whatever else: a shell command in which `{}` stands for the command to run there,
    /// or that takes it at its end.
    Command {
        /// The command.
        template: String,
    },
}

impl Transport {
    /// The command that runs `script` in a shell on the machine. `script` holds no
    /// single quote, backslash, exclamation mark or line feed, so that every login
    /// shell (fish and csh, too) takes it in single quotes as it is.
    pub(super) fn command(&self, script: &str, connect: Duration) -> Command {
        let remote = format!("exec sh -c '{script}'");
        match self {
            Self::Ssh { command, address } => {
                let mut ssh = Command::new("sh");
                // As git runs its ssh command.
                ssh.arg("-c").arg(format!("{command} \"$@\"")).arg(command);
                ssh.args(["-T", "-o", "BatchMode=yes"]);
                ssh.arg("-o")
                    .arg(format!("ConnectTimeout={}", connect.as_secs().max(1)));
                ssh.args(["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]);
                ssh.arg("--").arg(address).arg(remote);
                ssh
            }
            Self::Slurm { options } => {
                let mut srun = Command::new("srun");
                srun.args(["--ntasks=1", "--unbuffered", "--quiet", "--job-name=git-ci"]);
                srun.args(options).args(["sh", "-c", script]);
                srun
            }
            Self::Command { template } => {
                let there = format!("sh -c '{script}'");
                let line = if template.contains("{}") {
                    template.replace("{}", &there)
                } else {
                    format!("{template} {there}")
                };
                let mut command = Command::new("sh");
                command.arg("-c").arg(line);
                command
            }
        }
    }

    /// How people call it.
    pub fn describe(&self) -> String {
        match self {
            Self::Ssh { address, .. } => address.clone(),
            Self::Slurm { .. } => "slurm".to_owned(),
            Self::Command { template } => template.clone(),
        }
    }
}
