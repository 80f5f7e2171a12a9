//! The long runs there are.

/// One of the long runs.
pub(crate) struct Soak {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// The arguments of cargo: the selection of packages is that of the tests, so
    /// that nothing is built twice.
    pub(crate) arguments: &'static [&'static str],
    /// What to run once that is built: a program of the workspace and its
    /// arguments. A last argument `--json` is followed by the path to write to.
    pub(crate) program: Option<&'static [&'static str]>,
    pub(crate) env: &'static [(&'static str, &'static str)],
    /// How many seeds a call runs, one after the other or side by side, where the
    /// run is made of seeds: it then prints figures by seed, `"seed N": {…}`, and
    /// a later call adds its seeds to the result.
    pub(crate) seeds: Option<u64>,
    /// What the sums over all seeds must reach: (JSON pointer, at least).
    pub(crate) needs: &'static [(&'static str, u64)],
    /// Whether it starts servers that `cargo xtask test` provides.
    pub(crate) servers: bool,
    pub(crate) limit_min: u64,
}

/// Arguments of cargo on the one selection of packages that there is.
macro_rules! selected {
    ($command:literal, $($argument:literal),+ $(,)?) => {
        &[
            $command,
            "--release",
            "--workspace",
            "--features",
            "chartlift/failpoints",
            $($argument,)+
        ]
    };
}

/// The system tests whose names contain one of these.
macro_rules! system_tests {
    ($($name:literal),+ $(,)?) => {
        selected!("test", "--test", "it", "--", "--nocapture", $($name),+)
    };
}

/// A run without seeds, of an hour at most, that needs nothing beside Rust.
const BASE: Soak = Soak {
    name: "",
    about: "",
    arguments: &[],
    program: None,
    env: &[],
    seeds: None,
    needs: &[],
    servers: false,
    limit_min: 60,
};

pub(crate) const SOAKS: [Soak; 14] = [
    Soak {
        name: "segments-fuzz",
        about: "a million broken segment files: each is read or refused, none panics",
        arguments: selected!("test", "--test", "fuzz", "--", "--nocapture"),
        env: &[("CHARTLIFT_FUZZ_EXECUTIONS", "1000000")],
        limit_min: 120,
        ..BASE
    },
    Soak {
        name: "bench",
        about: "the benchmarks, beside their peers",
        arguments: selected!("build", "--all-targets"),
        program: Some(&["bench", "all", "--json"]),
        servers: true,
        limit_min: 120,
        ..BASE
    },
    Soak {
        name: "kills",
        about: "workers and the Temporal server killed; 4 seeds of 52 kills",
        arguments: system_tests!("kills::"),
        env: &[("CHARTLIFT_KILLS", "52")],
        seeds: Some(4),
        needs: &[
            ("/worker_kills", 200),
            ("/hits/pull.begin", 2),
            ("/hits/pull.plan", 2),
            ("/hits/pull.pages", 2),
            ("/hits/pull.references", 2),
            ("/hits/pull.attachments", 2),
            ("/hits/pull.settle", 2),
            ("/hits/pull.close", 2),
            ("/hits/export.claim", 2),
            ("/hits/export.plan", 2),
            ("/hits/export.chunk", 2),
            ("/hits/export.publish", 2),
            ("/hits/export.close", 2),
            ("/hits/maintain.merge", 2),
            ("/hits/maintain.sweep_records", 2),
            ("/hits/maintain.sweep_destinations", 2),
            ("/hits/maintain.retention", 2),
            ("/hits/probe.run", 2),
            ("/temporal_kills_in_pulls_1_s", 2),
            ("/temporal_kills_in_pulls_40_s", 2),
            ("/temporal_kills_in_pulls", 5),
            ("/temporal_kills_in_exports_1_s", 2),
            ("/temporal_kills_in_exports_40_s", 2),
            ("/temporal_kills_in_exports", 5),
        ],
        limit_min: 180,
        ..BASE
    },
    Soak {
        name: "outages",
        about: "on PostgreSQL and S3 with 3 workers: servers and workers killed; 3 seeds",
        arguments: system_tests!("outages::"),
        env: &[("CHARTLIFT_KILLS", "8")],
        seeds: Some(3),
        needs: &[
            ("/worker_kills", 20),
            ("/postgres_kills_in_pulls", 5),
            ("/postgres_kills_in_pulls_1_s", 2),
            ("/postgres_kills_in_pulls_40_s", 2),
            ("/postgres_kills_in_exports", 5),
            ("/postgres_kills_in_exports_1_s", 2),
            ("/postgres_kills_in_exports_40_s", 2),
            ("/s3_kills_in_pulls", 5),
            ("/s3_kills_in_pulls_1_s", 2),
            ("/s3_kills_in_pulls_40_s", 2),
            ("/s3_kills_in_exports", 5),
            ("/s3_kills_in_exports_1_s", 2),
            ("/s3_kills_in_exports_40_s", 2),
        ],
        servers: true,
        limit_min: 120,
        ..BASE
    },
    Soak {
        name: "servers",
        about: "what is promised of all deployments, on PostgreSQL and S3 with 3 workers",
        // Two at once: each has six processes and servers of its own.
        arguments: system_tests!(
            "--test-threads=2",
            "zombies::",
            "one_run::",
            "deletes::",
            "isolation::",
            "pull_cancel::",
            "export_cancel::",
            "export_retry::",
            "resumes::",
            "recover::",
            "recycle::",
            "maintain_merge::",
            "verify_faults::",
            "verify_racing::",
            "delivery_exact::",
            "delivery_once::",
            "segments::",
        ),
        env: &[("CHARTLIFT_TEST_PLACE", "servers")],
        servers: true,
        ..BASE
    },
    Soak {
        name: "memory",
        about: "a patient of 200,000 resources pulled and exported twice: a worker's memory",
        arguments: system_tests!("memory::"),
        env: &[("CHARTLIFT_PULLED_RESOURCES", "200000")],
        ..BASE
    },
    Soak {
        name: "endurance",
        about: "60 minutes of changes, pulls, exports and kills: a worker's memory",
        arguments: system_tests!("endurance::"),
        env: &[("CHARTLIFT_ENDURANCE_MINUTES", "60")],
        limit_min: 90,
        ..BASE
    },
    Soak {
        name: "api-schema",
        about: "the API asked by Schemathesis after its document; 4 seeds of 200 examples",
        arguments: system_tests!("api_schema::"),
        env: &[("CHARTLIFT_EXAMPLES", "200")],
        seeds: Some(4),
        needs: &[("/seeds", 4)],
        servers: true,
        limit_min: 120,
        ..BASE
    },
    Soak {
        name: "idempotency",
        about: "1,000 POSTs sent again and again while the API is killed, on both databases",
        arguments: system_tests!("idempotency::"),
        env: &[("CHARTLIFT_POSTS", "1000")],
        servers: true,
        ..BASE
    },
    Soak {
        name: "record",
        about: "the record of a patient of 20,000 resources over the API: memory and pages",
        arguments: system_tests!("api_record::"),
        env: &[("CHARTLIFT_RECORD_RESOURCES", "20000")],
        servers: true,
        limit_min: 30,
        ..BASE
    },
    Soak {
        name: "throughput",
        about: "what one worker gets through and what two do, five times each in turn",
        arguments: system_tests!("throughput::"),
        env: &[("CHARTLIFT_ROUNDS", "5"), ("CHARTLIFT_CONNECTIONS", "40")],
        servers: true,
        ..BASE
    },
    Soak {
        name: "portals",
        about: "1,000 connections to 5 portals of 50 requests a second, and one slow one",
        arguments: system_tests!("source_limits::"),
        env: &[
            ("CHARTLIFT_CONNECTIONS", "1000"),
            ("CHARTLIFT_SOURCES", "5"),
            ("CHARTLIFT_PER_SECOND", "50"),
            ("CHARTLIFT_REQUESTS", "100"),
            ("CHARTLIFT_PULL_SLOTS", "64"),
        ],
        servers: true,
        limit_min: 120,
        ..BASE
    },
    Soak {
        name: "pulls",
        about: "portals that change and fail at random, workers killed at it; 20 seeds",
        arguments: system_tests!("pull_random::"),
        env: &[("CHARTLIFT_PULLS", "4")],
        seeds: Some(20),
        needs: &[
            ("/worker_kills", 60),
            ("/pulls", 200),
            ("/partial_pulls", 20),
            ("/types_asked_for_changes", 20),
            ("/deleted", 20),
        ],
        limit_min: 120,
        ..BASE
    },
    Soak {
        name: "tokens",
        about: "1,000 tokens that end under two workers that are killed, on both databases",
        arguments: selected!("test", "--lib", "token_tests::storm", "--", "--nocapture"),
        env: &[("CHARTLIFT_TOKEN_EXPIRIES", "1000")],
        servers: true,
        ..BASE
    },
];
