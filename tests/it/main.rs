//! The system tests: one binary, one file a promise.

mod cli;
mod deletes;
mod delivery_exact;
mod delivery_once;
mod demo;
mod histories;
<<<<<<< HEAD
mod isolation;
=======
mod kills;
>>>>>>> 4f556c3 (Kill workers and the Temporal server at seeded moments and compare with the undisturbed)
mod releases;
mod resumes;
mod rooms;
mod secrets;
mod segments;
mod soaks;
mod temporal_view;
mod verify_faults;
mod verify_racing;
