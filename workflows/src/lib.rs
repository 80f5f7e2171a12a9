//! The durable stories, as prose: what happens in which order. Everything that
//! touches the world is an activity (`activities/`), named here by its signature
//! in `steps`.
//!
//! Invariant: deterministic. No clock, no randomness, no I/O, no waiting but on
//! the SDK; the crate's direct dependencies, `clippy.toml` and a source test hold
//! it.

mod destination_export;
mod maintain;
mod options;
mod patient_pull;
mod patient_pull_stages;
mod probe;
mod table;

pub use destination_export::DestinationExport;
pub use maintain::Maintain;
pub use patient_pull::PatientPull;
pub use probe::Probe;

/// The code and its markers in `steps` must say the same; a difference does not
/// compile.
mod markers {
    use temporalio_workflow::common::WorkflowDefinition;

    fn same<A: WorkflowDefinition, B: WorkflowDefinition<Input = A::Input, Output = A::Output>>(
        _: B,
    ) {
    }

    #[expect(dead_code, reason = "only its types are checked")]
    fn check() {
        same::<super::patient_pull::Run, _>(steps::PatientPull);
        same::<super::destination_export::Run, _>(steps::DestinationExport);
        same::<super::maintain::Run, _>(steps::Maintain);
        same::<super::probe::Run, _>(steps::Probe);
    }
}
