//! The PostgreSQL server of a test run: one for all tests, each of which makes a
//! database of its own. It listens on this machine alone, with a password made for
//! the run, and goes with its folder when the run ends.

use crate::tools::Postgres;
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to begin or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; ended when dropped.
pub(crate) struct Server {
    child: Child,
    dir: PathBuf,
    url: String,
}

impl Server {
    /// Starts a server.
    pub(crate) fn start(programs: &Postgres) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("chartlift-postgres-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let started = start_in(programs, &dir);
        if started.is_err() {
            std::fs::remove_dir_all(&dir).ok();
        }
        started
    }

    /// Where it is, as a user who may make databases.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT: it cuts off whoever is connected, and ends.
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status().ok();
        let until = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.child.kill().ok();
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.dir).ok();
    }
}

fn start_in(programs: &Postgres, dir: &Path) -> Result<Server> {
    let (data, log) = (dir.join("data"), dir.join("log"));
    let password = password()?;
    let word = dir.join("password");
    std::fs::write(&word, &password).context("write the password")?;
    let user = user()?;
    let root = match user {
        // Another user may not look into the caller's home.
        Some(_) if std::env::home_dir().is_some_and(|home| programs.root.starts_with(home)) => {
            copy(&programs.root, dir)?
        }
        _ => programs.root.clone(),
    };
    let bin = root.join(&programs.bin);
    if let Some(user) = user {
        quietly(Command::new("chown").args(["-R", user]).arg(dir))?;
    }
    let mut init = command(user, &bin.join("initdb"));
    init.args(["--username=chartlift", "--auth=scram-sha-256", "--no-sync"])
        .args(["--encoding=UTF8", "--no-locale"])
        .arg(format!("--pwfile={}", word.display()))
        .arg("--pgdata")
        .arg(&data);
    quietly(&mut init)?;
    // It is free now; if another takes it meanwhile, the run says so.
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .context("find a free port")?
        .port();
    let mut server = command(user, &bin.join("postgres"));
    server.arg("-D").arg(&data).args(["-p", &port.to_string()]);
    for setting in [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=400",
        // What is lost with the machine is no loss here.
        "fsync=off",
    ] {
        server.args(["-c", setting]);
    }
    let output = File::create(&log).context("create the server's log")?;
    let child = server
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output)
        .spawn()
        .context("start PostgreSQL")?;
    let mut server = Server {
        child,
        dir: dir.to_owned(),
        url: format!("postgres://chartlift:{password}@127.0.0.1:{port}/postgres"),
    };
    wait_until_ready(&mut server.child, &log)?;
    Ok(server)
}

fn wait_until_ready(child: &mut Child, log: &Path) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if text.contains("ready to accept connections") {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            bail!("PostgreSQL ended with {status}:\n{text}");
        }
        ensure!(
            Instant::now() < until,
            "PostgreSQL is not ready within {PATIENCE:?}:\n{text}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The user the server runs as, where the caller is root, whom it refuses.
fn user() -> Result<Option<&'static str>> {
    let id = |arguments: &[&str]| crate::machine::output("id", arguments);
    if id(&["-u"]).as_deref() != Some("0") {
        return Ok(None);
    }
    let other = ["postgres", "nobody"].into_iter();
    let found = other.into_iter().find(|name| id(&["-u", name]).is_some());
    found
        .map(Some)
        .context("PostgreSQL does not run as root, and there is no other user here")
}

/// A program, as `user`. It goes when the run is killed.
fn command(user: Option<&str>, program: &Path) -> Command {
    let mut command = match user {
        None => return Command::new(program),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", user, "--clear-groups", "--pdeathsig", "INT"]);
            let group = crate::machine::output("id", &["-g", user]).unwrap_or_default();
            command.args(["--regid", &group]);
            command
        }
    };
    command.arg("--").arg(program);
    command
}

/// Copies an installation to where another user may read it.
fn copy(from: &Path, dir: &Path) -> Result<PathBuf> {
    let to = dir.join("programs");
    quietly(Command::new("cp").arg("-R").args([from, &to]))?;
    Ok(to)
}

fn quietly(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command
        .current_dir("/")
        .output()
        .with_context(|| format!("run {name}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{name}: {}: {said}", done.status);
    Ok(())
}

/// 16 random bytes in hexadecimal.
fn password() -> Result<String> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("make a password")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
