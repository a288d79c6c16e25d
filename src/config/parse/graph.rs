//! From tables to jobs: matrices are multiplied out, and what jobs need is looked up.

use std::collections::{BTreeMap, HashMap};

use crate::model::{Job, JobName, Need, Setup};

use super::job::Draft;
use super::setup::SetupDraft;
use super::{Reader, list, unknown};

/// Jobs that need each other make no longer chain.
const MOST_DEEP: usize = 256;

/// A job whose needs are being looked up.
struct Node {
    job: Job,
    /// The draft that it is made of.
    draft: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    /// Its needs are being looked up.
    Open,
    Done,
}

impl Reader<'_> {
    /// The jobs of these drafts, in their order. `names` are those of all tables, also of those
    /// with which something is wrong.
    pub(super) fn resolve(
        &mut self,
        mut drafts: Vec<Draft>,
        names: &[&str],
        setups: &[SetupDraft],
    ) -> Vec<Job> {
        for draft in &mut drafts {
            draft.job.setups = self.setups_of(draft, setups);
        }
        let mut nodes = Vec::new();
        let mut cells: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, draft) in drafts.iter().enumerate() {
            for job in self.multiply(draft) {
                let base = draft.job.name.as_str();
                for name in [base, job.name.as_str()] {
                    let places = cells.entry(name.to_owned()).or_default();
                    if places.last() != Some(&nodes.len()) {
                        places.push(nodes.len());
                    }
                }
                nodes.push(Node {
                    job,
                    draft: index,
                    state: State::New,
                });
            }
        }
        let needs: Vec<Vec<usize>> = drafts
            .iter()
            .map(|draft| self.needs(draft, &cells, names))
            .collect();
        self.check_names(&nodes, &drafts);
        for at in 0..nodes.len() {
            let mut way = Vec::new();
            self.complete(at, &mut nodes, &drafts, &needs, &mut way);
        }
        nodes.into_iter().map(|node| node.job).collect()
    }

    /// What must have been set up before a draft's jobs.
    fn setups_of(&mut self, draft: &Draft, setups: &[SetupDraft]) -> Vec<Setup> {
        let mut found: Vec<Setup> = Vec::new();
        for (at, name) in &draft.setups {
            match setups.iter().find(|setup| setup.name == *name) {
                Some(SetupDraft { setup, .. }) => found.extend(setup.clone()),
                None => {
                    let known: Vec<_> = setups.iter().map(|setup| setup.name.as_str()).collect();
                    let rest = if known.is_empty() {
                        "a set-up is a table such as [setup.node]".to_owned()
                    } else {
                        format!("the set-ups are {}", list(&known))
                    };
                    self.problem(at.clone(), unknown("set-up", name, &known, &rest));
                }
            }
        }
        found
    }

    /// The jobs of a draft: one, or one for each cell of its matrix.
    fn multiply(&mut self, draft: &Draft) -> Vec<Job> {
        if draft.cells.is_empty() {
            return vec![draft.job.clone()];
        }
        let mut jobs = Vec::new();
        for cell in &draft.cells {
            let name = format!("{}{}", draft.job.name, cell.suffix);
            match name.parse::<JobName>() {
                Ok(name) => {
                    let mut job = draft.job.clone();
                    job.name = name;
                    job.env.extend(cell.env.clone());
                    jobs.push(job);
                }
                Err(error) => {
                    let message =
                        format!("\"{name}\", a cell of its matrix, is no job name: {error}");
                    self.problem(draft.at.clone(), message);
                }
            }
        }
        jobs
    }

    /// Says which jobs have the name of another one.
    fn check_names(&mut self, nodes: &[Node], drafts: &[Draft]) {
        let mut first: HashMap<&JobName, usize> = HashMap::new();
        for node in nodes {
            let before = *first.entry(&node.job.name).or_insert(node.draft);
            if before != node.draft {
                let message = format!("there is another job of the name {}", node.job.name);
                self.problem(drafts[node.draft].at.clone(), message);
            }
        }
    }

    /// What a draft's jobs need.
    fn needs(
        &mut self,
        draft: &Draft,
        cells: &BTreeMap<String, Vec<usize>>,
        names: &[&str],
    ) -> Vec<usize> {
        let mut needs = Vec::new();
        for (at, name) in &draft.needs {
            match cells.get(name) {
                Some(found) => needs.extend(found.iter().copied()),
                // Something else is wrong with it.
                None if names.contains(&name.as_str()) => {}
                None => {
                    let known: Vec<_> = cells.keys().map(String::as_str).collect();
                    let rest = format!("the jobs are {}", list(&known));
                    self.problem(at.clone(), unknown("job", name, &known, &rest));
                }
            }
        }
        needs.sort_unstable();
        needs.dedup();
        needs
    }

    /// Says of a job what it needs, once that is said of those; `way` are the jobs that need it.
    fn complete(
        &mut self,
        at: usize,
        nodes: &mut [Node],
        drafts: &[Draft],
        needs: &[Vec<usize>],
        way: &mut Vec<usize>,
    ) {
        match nodes[at].state {
            State::Done => return,
            State::Open => {
                let begin = way.iter().position(|one| *one == at).unwrap_or(0);
                let circle = way[begin..].iter().chain([&at]);
                let names: Vec<_> = circle.map(|one| nodes[*one].job.name.as_str()).collect();
                let draft = &drafts[nodes[at].draft];
                let place = draft
                    .needs
                    .first()
                    .map_or(draft.at.clone(), |(at, _)| at.clone());
                self.problem(
                    place,
                    format!("jobs need each other: {}", names.join(" → ")),
                );
                return;
            }
            State::New if way.len() >= MOST_DEEP => {
                let message = format!("more than {MOST_DEEP} jobs need each other in a row");
                self.problem(drafts[nodes[at].draft].at.clone(), message);
                return;
            }
            State::New => {}
        }
        nodes[at].state = State::Open;
        way.push(at);
        let draft = &drafts[nodes[at].draft];
        // It reads what was set up, and so what that reads.
        let inputs = draft.job.setups.iter().map(|setup| setup.inputs.clone());
        let inputs = inputs.filter(|inputs| !inputs.is_empty());
        let mut selections = draft.paths.clone().map(|paths| {
            let all = std::iter::once(paths).chain(inputs);
            all.collect::<Vec<_>>()
        });
        for &need in &needs[nodes[at].draft] {
            self.complete(need, nodes, drafts, needs, way);
            let job = &nodes[need].job;
            let (name, def) = (job.name.clone(), job.definition());
            // It reads what that has made, and so what that reads.
            selections = selections
                .zip(job.selections.clone())
                .map(|(own, others)| own.into_iter().chain(others).collect());
            nodes[at].job.needs.push(Need { job: name, def });
        }
        if let Some(selections) = &mut selections {
            selections.sort_unstable();
            selections.dedup();
        }
        nodes[at].job.selections = selections;
        nodes[at].job.paths = draft.paths.clone().unwrap_or_default();
        nodes[at].state = State::Done;
        way.pop();
    }
}
