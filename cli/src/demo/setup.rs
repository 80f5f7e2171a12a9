//! The demo's portal, and what it registers. Doing it again changes nothing but
//! the portal's address: its port may be another each time, its identity not.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use activities::register::{add_connection, add_destination};
use anyhow::{Context, Result, ensure};
use db::{Db, Destination, NewSource};
use model::{ConnectionId, ConnectionStatus, FileFormat, SourceId};
use sandbox::{Sandbox, SandboxOptions};
use url::Url;
use worker::Core;
use worker::embedded::free_port;

/// The portal's port, if it is free.
const PORTAL_PORT: u16 = 8090;
/// The source's name.
const SOURCE: &str = "sandbox";
/// The source's identity, whatever port it listens on.
const IDENTITY: &str = "sandbox/fhir";
/// Name, folder and format of each destination.
const DESTINATIONS: [(&str, &str, FileFormat); 2] = [
    ("demo-ndjson", "exports/ndjson", FileFormat::NdjsonGzip),
    ("demo-parquet", "exports/parquet", FileFormat::Parquet),
];

/// What the demo works with.
#[derive(Debug)]
pub(super) struct Scene {
    /// The connections that can be pulled.
    pub(super) connections: Vec<ConnectionId>,
    /// NDJSON, then Parquet; as they stood before this run.
    pub(super) destinations: Vec<Destination>,
}

/// Starts the portal.
pub(super) async fn portal() -> Result<Sandbox> {
    let port = free_port(PORTAL_PORT).context("find a port for the portal")?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Sandbox::start(SandboxOptions {
        listen,
        ..SandboxOptions::default()
    })
    .await
    .context("start the portal")
}

/// Registers source, patients and destinations that are not there yet.
pub(super) async fn register(
    core: &Core,
    portal: &Sandbox,
    patients_max: Option<u64>,
) -> Result<Scene> {
    let source = source(&core.db, portal.base_url())
        .await
        .context("register the portal")?;
    let patients_max = patients_max
        .and_then(|max| usize::try_from(max).ok())
        .unwrap_or(usize::MAX);
    let patients: Vec<_> = portal
        .patients()
        .into_iter()
        .take(patients_max)
        .map(|patient| patient.id)
        .collect();
    let connections = connections(&core.db, source, patients)
        .await
        .context("register the patients")?;
    let mut destinations = Vec::new();
    for (name, folder, format) in DESTINATIONS {
        let found = destination(core, name, folder, format).await;
        destinations.push(found.with_context(|| format!("register destination {name}"))?);
    }
    Ok(Scene {
        connections,
        destinations,
    })
}

async fn source(db: &Db, base_url: &Url) -> Result<SourceId> {
    match db.source(SOURCE).await {
        Ok(source) => {
            let change = db::SourceChange {
                base_url: Some(base_url.as_str()),
                ..db::SourceChange::default()
            };
            db.change_source(source.id, change).await?;
            Ok(source.id)
        }
        Err(db::Error::NotFound { .. }) => {
            let new = NewSource::new(SOURCE, base_url.as_str(), IDENTITY);
            Ok(db.add_source(&new).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// One connection a patient, under a name that is not the portal's.
async fn connections(
    db: &Db,
    source: SourceId,
    patients: Vec<String>,
) -> Result<Vec<ConnectionId>> {
    let known = db.connections(None, u32::MAX).await?;
    let known: BTreeMap<_, _> = known
        .into_iter()
        .filter(|row| row.source_id == source)
        .filter_map(|row| Some((row.external_id.clone()?, row)))
        .collect();
    let mut connections = Vec::with_capacity(patients.len());
    for (number, patient) in (1..).zip(patients) {
        let external_id = format!("sandbox:{number:02}");
        match known.get(&external_id) {
            Some(row) if row.enabled && row.status == ConnectionStatus::Active => {
                connections.push(row.id)
            }
            Some(row) => eprintln!("{} is not pulled: it is disabled or not active", row.id),
            None => {
                connections.push(add_connection(db, &external_id, SOURCE, patient, None).await?)
            }
        }
    }
    Ok(connections)
}

async fn destination(
    core: &Core,
    name: &str,
    folder: &str,
    format: FileFormat,
) -> Result<Destination> {
    let folder = core.settings.data.dir.join(folder);
    let location = folder
        .to_str()
        .context("the data folder's path is not UTF-8 text")?;
    match core.db.destination(name).await {
        Err(db::Error::NotFound { .. }) => {
            add_destination(&core.db, &core.guard, name, location, format, None).await?;
        }
        Err(error) => return Err(error.into()),
        Ok(known) => ensure!(
            known.location == location,
            "it lies in {}: the data folder was moved. Move it back, or start with a new one",
            known.location
        ),
    }
    Ok(core.db.destination(name).await?)
}
