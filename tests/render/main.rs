//! The engines held to the real Helm v4 and kustomize: templates and overlays from a seed, charts with arguments.
//!
//! `SKEIN_RENDER_SEED` and `SKEIN_RENDER_COUNT` replay and lengthen what is random; the seed is printed on failure.
#![cfg(test)]

mod corpus;
mod dialects;
mod folders;
mod generator;
mod helm;
mod helm_charts;
mod kustomize;
mod large;
mod lines;
mod ours;
mod precedence;
mod refusals;
mod tables;

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// The same in every run unless another one is given: a run that fails must fail again.
fn seed() -> u64 {
    setting("SKEIN_RENDER_SEED", 20_261_121)
}

#[test]
#[ignore = "real parts: tests/run"]
fn random_templates_render_as_helm_renders_them() {
    let (seed, count) = (seed(), setting("SKEIN_RENDER_COUNT", 1_000));
    let count = usize::try_from(count).expect("a count");
    let found = generator::differences(seed, count);
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(
        found.is_empty(),
        "{} of {count} templates differ (SKEIN_RENDER_SEED={seed}):\n{}",
        found.len(),
        shown.join("\n")
    );
}

fn no_document_differs(found: &[String], seed: u64, count: usize) {
    assert!(
        found.is_empty(),
        "{} of {count} documents differ (SKEIN_RENDER_SEED={seed}):\n\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
#[ignore = "real parts: tests/run"]
fn random_documents_are_read_as_helm_reads_them() {
    let (seed, count) = (seed(), setting("SKEIN_RENDER_DOCUMENTS", 500));
    let count = usize::try_from(count).expect("a count");
    let found = dialects::differences(seed, count);
    no_document_differs(&found, seed, count);
}

#[test]
#[ignore = "real parts: tests/run"]
fn random_tables_are_read_and_written_as_helm_does() {
    let (seed, count) = (seed(), setting("SKEIN_RENDER_TABLES", 1_000));
    let count = usize::try_from(count).expect("a count");
    let found = tables::differences(seed, count);
    no_document_differs(&found, seed, count);
}

#[test]
#[ignore = "real parts: tests/run"]
fn charts_print_as_helm_template_prints_them() {
    let work = tempfile::tempdir().expect("a folder for archives");
    let (cases, found) = corpus::differences(work.path());
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(cases > 150, "only {cases} cases were found");
    assert!(found.is_empty(), "{} of {cases} cases differ:\n\n{}", found.len(), shown.join("\n"));
}

#[test]
#[ignore = "real parts: tests/run"]
fn charts_of_odd_files_print_as_helm_prints_them() {
    let work = tempfile::tempdir().expect("a folder for charts");
    let (charts, found) = folders::differences(work.path());
    assert!(charts > 200, "only {charts} charts were found");
    assert!(found.is_empty(), "{} of {charts} charts differ:\n\n{}", found.len(), found.join("\n"));
}

#[test]
#[ignore = "real parts: tests/run"]
fn random_overlays_come_out_as_kustomize_makes_them() {
    let (seed, count) = (seed(), setting("SKEIN_RENDER_OVERLAYS", 150));
    let count = usize::try_from(count).expect("a count");
    let found = kustomize::differences(seed, count);
    assert!(
        found.is_empty(),
        "{} of {count} overlays differ (SKEIN_RENDER_SEED={seed}):\n\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
#[ignore = "real parts: tests/run"]
fn the_charts_that_helm_is_tested_with_print_as_helm_prints_them() {
    let (charts, found) = helm_charts::differences();
    assert!(charts > 150, "only {charts} charts were found");
    assert!(found.is_empty(), "{} of {charts} charts differ:\n\n{}", found.len(), found.join("\n\n"));
}

#[test]
#[ignore = "real parts: tests/run"]
fn very_large_charts_print_as_helm_prints_them_within_a_twentieth_of_the_bounds() {
    let work = tempfile::tempdir().expect("a folder for charts");
    let found = large::differences(work.path());
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}

#[test]
#[ignore = "real parts: tests/run"]
fn a_hundred_kinds_of_mistakes_are_refused_as_helm_refuses_them() {
    let work = tempfile::tempdir().expect("a folder for charts");
    let (cases, found) = refusals::differences(work.path());
    assert!(cases >= 100, "only {cases} mistakes are written down");
    assert!(found.is_empty(), "{} of {cases} mistakes differ:\n\n{}", found.len(), found.join("\n\n"));
}

#[test]
#[ignore = "real parts: tests/run"]
fn command_lines_do_what_those_of_helm_do() {
    let work = tempfile::tempdir().expect("folders for the programs");
    let (lines, found) = lines::differences(work.path());
    assert!(lines > 60, "only {lines} lines are written down");
    assert!(found.is_empty(), "{} of {lines} command lines differ:\n\n{}", found.len(), found.join("\n"));
}

#[test]
#[ignore = "real parts: tests/run"]
fn random_values_reach_charts_as_helm_hands_them_down() {
    let (seed, count) = (seed(), setting("SKEIN_RENDER_VALUES", 60));
    let count = usize::try_from(count).expect("a count");
    let found = precedence::differences(seed, count);
    assert!(
        found.is_empty(),
        "{} of {count} cases differ (SKEIN_RENDER_SEED={seed}):\n\n{}",
        found.len(),
        found.join("\n")
    );
}
