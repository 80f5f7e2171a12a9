//! Making, starting and ending a server.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::Programs;
use crate::system::{copied, output, password, quietly, user};

/// How long it may take to begin or to end.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
/// Starts until a port stays free long enough.
const STARTS_MAX: u32 = 5;
/// What of its log is repeated when it does not start.
const LOG_MAX: u64 = 4 << 10;

/// How a server is run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Whether what was answered survives a power cut.
    pub durable: bool,
    /// Whether it is left out when the terminal's Ctrl-C ends everything at once.
    pub apart: bool,
}

/// A running server; ended when dropped. Its folder stays.
#[derive(Debug)]
pub struct Server {
    bin: PathBuf,
    user: Option<&'static str>,
    dir: PathBuf,
    password: String,
    port: u16,
    options: Options,
    child: Option<Child>,
}

impl Server {
    /// Starts a server on what is in the folder, or on a new, empty cluster.
    ///
    /// # Errors
    /// If the cluster cannot be made, or the server does not start.
    pub fn start(programs: &Programs, dir: &Path, options: Options) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let dir = dir.canonicalize().context("find the server's folder")?;
        let user = user()?;
        let root = match user {
            // Another user may not look into the caller's home.
            Some(_) if std::env::home_dir().is_some_and(|home| programs.root.starts_with(home)) => {
                copied(&programs.root, &dir)?
            }
            _ => programs.root.clone(),
        };
        let mut server = Self {
            bin: root.join(&programs.bin),
            user,
            password: String::new(),
            port: 0,
            dir,
            options,
            child: None,
        };
        server.make_cluster()?;
        for _ in 1..STARTS_MAX {
            server.port = free_port()?;
            if server.restart().is_ok() {
                return Ok(server);
            }
            // Somebody else was quicker to take the port.
        }
        server.port = free_port()?;
        server.restart()?;
        Ok(server)
    }

    /// Where a database of it is, as a user who may do everything there.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://chartlift:{}@127.0.0.1:{}/{database}",
            self.password, self.port
        )
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    /// The system's.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(match &mut self.child {
            Some(child) => child.try_wait()?.is_some(),
            None => true,
        })
    }

    /// Kills it, as `kill -9` does. The processes of its sessions notice that, and
    /// end once the statement they are at is done.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Starts it on the same folder and port, and waits until it answers.
    ///
    /// # Errors
    /// If it does not, with the end of its log.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        let until = Instant::now() + PATIENCE;
        loop {
            let from = std::fs::metadata(self.log()).map_or(0, |log| log.len());
            self.child = Some(self.spawn()?);
            match self.ready(from, until)? {
                Ready::Yes => return Ok(()),
                // Sessions of the one that was killed have not noticed it yet.
                Ready::Crowded if Instant::now() < until => std::thread::sleep(LOOK),
                Ready::Crowded | Ready::No => {
                    self.kill()?;
                    bail!("PostgreSQL does not start:\n{}", self.said(from));
                }
            }
        }
    }

    /// Ends it, cutting off whoever is connected.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let pid = child.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status().ok();
        let until = Instant::now() + PATIENCE;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
        child.kill().ok();
        child.wait().ok();
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("postgres.log")
    }

    /// Makes a cluster, unless there is one.
    fn make_cluster(&mut self) -> Result<()> {
        let word = self.dir.join("password");
        if self.data().join("PG_VERSION").exists() {
            self.password = std::fs::read_to_string(&word).context("read the server's password")?;
            return Ok(());
        }
        self.password = password()?;
        let mut options = File::options();
        options.create(true).write(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options
            .open(&word)
            .and_then(|mut file| file.write_all(self.password.as_bytes()))
            .context("write the password")?;
        File::create(self.log()).context("create the server's log")?;
        if let Some(user) = self.user {
            quietly(Command::new("chown").args(["-R", user]).arg(&self.dir))?;
        }
        let mut init = self.command("initdb");
        init.args(["--username=chartlift", "--auth=scram-sha-256", "--no-sync"])
            .args(["--encoding=UTF8", "--no-locale"])
            .arg(format!("--pwfile={}", word.display()))
            .arg("--pgdata")
            .arg(self.data());
        quietly(&mut init)
    }

    fn spawn(&self) -> Result<Child> {
        let mut server = self.command("postgres");
        let port = self.port.to_string();
        server.arg("-D").arg(self.data()).args(["-p", &port]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=400",
        ] {
            server.args(["-c", setting]);
        }
        if !self.options.durable {
            // What is lost with the machine is no loss then.
            server.args(["-c", "fsync=off"]);
        }
        #[cfg(unix)]
        if self.options.apart {
            std::os::unix::process::CommandExt::process_group(&mut server, 0);
        }
        let log = File::options().append(true).open(self.log());
        server
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.context("open the server's log")?)
            .spawn()
            .context("start PostgreSQL")
    }

    /// Waits for what its log says, from a position on.
    fn ready(&mut self, from: u64, until: Instant) -> Result<Ready> {
        loop {
            let said = self.said(from);
            if said.contains("ready to accept connections") {
                return Ok(Ready::Yes);
            }
            if self.has_ended()? {
                let is_crowded = said.contains("is still in use");
                return Ok(if is_crowded {
                    Ready::Crowded
                } else {
                    Ready::No
                });
            }
            if Instant::now() > until {
                return Ok(Ready::No);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// What its log says from a position on.
    fn said(&self, from: u64) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut log = File::open(self.log())?;
            log.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            log.take(LOG_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }

    /// A program, as the server's user. It goes when whoever started it is killed.
    fn command(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        let Some(user) = self.user else {
            return Command::new(program);
        };
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--clear-groups", "--pdeathsig", "INT"]);
        let group = output("id", &["-g", user]).unwrap_or_default();
        command.args(["--regid", &group, "--"]).arg(program);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How a start went.
enum Ready {
    Yes,
    /// Another's memory is still there.
    Crowded,
    No,
}

/// It is free now; who takes it meanwhile is found out at the start.
fn free_port() -> Result<u16> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    Ok(free.context("find a free port")?.port())
}
