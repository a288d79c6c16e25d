//! From what is new to what is wanted, and from what is done to what has been seen.
//!
//! Pure: a graph, the tips and a question about commits come in; orders and places for
//! checkpoints come out.

use std::collections::HashSet;

use crate::git::Graph;
use crate::model::Oid;

/// Which of the new commits go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum QueueOrder {
    /// The tips, those that moved last first; then the rest of each branch, newest first.
    #[default]
    Tips,
    /// Children before their parents, whatever branch they are on.
    Newest,
    /// Parents before their children.
    Oldest,
}

/// All commits of `graph` and of `forced`, in the order in which they are wanted; `tips`
/// are in the order of their urgency.
pub(crate) fn order(graph: &Graph, tips: &[Oid], forced: &[Oid], order: QueueOrder) -> Vec<Oid> {
    let must: HashSet<_> = forced.iter().collect();
    let outside = forced.iter().filter(|id| !graph.contains(id));
    let all = graph.commits.iter().map(|commit| commit.id);
    match order {
        QueueOrder::Newest => unique(all.chain(outside.copied())),
        QueueOrder::Oldest => unique(outside.copied().chain(all.rev())),
        QueueOrder::Tips => {
            let first = tips
                .iter()
                .filter(|id| graph.contains(id) || must.contains(id));
            let rest = tips
                .iter()
                .scan(HashSet::new(), |seen, tip| Some(branch(graph, *tip, seen)));
            unique(first.copied().chain(rest.flatten()).chain(outside.copied()))
        }
    }
}

fn unique(ids: impl Iterator<Item = Oid>) -> Vec<Oid> {
    let mut seen = HashSet::new();
    ids.filter(|id| seen.insert(*id)).collect()
}

/// What `tip` reaches within the graph and nobody has seen, children first.
fn branch(graph: &Graph, tip: Oid, seen: &mut HashSet<Oid>) -> Vec<Oid> {
    let mut stack = vec![tip];
    let mut places = Vec::new();
    while let Some(id) = stack.pop() {
        let Some(place) = graph.place(&id) else {
            continue;
        };
        if seen.insert(id) {
            places.push(place);
            stack.extend(graph.commits[place].parents.iter().copied());
        }
    }
    places.sort_unstable();
    places.into_iter().map(|at| graph.commits[at].id).collect()
}

/// The commits up to which nothing is left to do: each of them, and everything new that
/// it reaches, is handled.
pub(crate) fn complete(
    graph: &Graph,
    forced: &[Oid],
    handled: impl Fn(&Oid) -> bool,
) -> HashSet<Oid> {
    let must: HashSet<_> = forced.iter().collect();
    let mut complete = HashSet::new();
    complete.extend(
        forced
            .iter()
            .filter(|id| !graph.contains(id) && handled(id))
            .copied(),
    );
    for commit in graph.commits.iter().rev() {
        let new = |id: &&Oid| graph.contains(id) || graph.lacks(id) || must.contains(*id);
        let mut parents = commit.parents.iter().filter(new);
        if handled(&commit.id) && parents.all(|id| complete.contains(id)) {
            complete.insert(commit.id);
        }
    }
    complete
}

/// How far the checkpoint of a ref at `tip` may go: to the first commit of `complete` on
/// the way along first parents.
pub(crate) fn furthest(graph: &Graph, complete: &HashSet<Oid>, tip: Oid) -> Option<Oid> {
    let mut at = tip;
    loop {
        if complete.contains(&at) {
            return Some(at);
        }
        at = *graph.get(&at)?.parents.first()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::GraphCommit;

    fn id(n: u8) -> Oid {
        Oid::from_bytes(&[n; 20]).unwrap()
    }

    /// 0 ← 1 ← 2 ← 3 (main) and 1 ← 11 ← 12 (topic); 0 is seen.
    fn graph() -> Graph {
        let commit = |n: u8, parent: u8| GraphCommit {
            id: id(n),
            time: i64::from(n),
            parents: [id(parent)].into(),
        };
        Graph::new(vec![
            commit(1, 0),
            commit(2, 1),
            commit(3, 2),
            commit(11, 1),
            commit(12, 11),
        ])
    }

    fn ids(order: &[Oid]) -> Vec<u8> {
        order.iter().map(|id| id.as_bytes()[0]).collect()
    }

    #[test]
    fn tips_go_first_and_each_branch_follows() {
        let of = |tips: [u8; 2], by| ids(&order(&graph(), &tips.map(id), &[], by));
        assert_eq!(of([3, 12], QueueOrder::Tips), [3, 12, 2, 1, 11]);
        assert_eq!(of([12, 3], QueueOrder::Tips), [12, 3, 11, 1, 2]);
        assert_eq!(of([3, 12], QueueOrder::Newest), [12, 11, 3, 2, 1]);
        assert_eq!(of([3, 12], QueueOrder::Oldest), [1, 2, 3, 11, 12]);
    }

    #[test]
    fn a_tip_outside_the_graph_is_wanted_only_where_it_must_be() {
        let graph = graph();
        let of = |forced: &[Oid]| ids(&order(&graph, &[id(99), id(3)], forced, QueueOrder::Tips));
        assert_eq!(of(&[]), [3, 2, 1]);
        assert_eq!(of(&[id(99)]), [99, 3, 2, 1]);
    }

    #[test]
    fn a_checkpoint_goes_as_far_as_everything_behind_it_is_handled() {
        let graph = graph();
        let far = |handled: &[u8], tip| {
            let complete = complete(&graph, &[], |one| handled.contains(&one.as_bytes()[0]));
            furthest(&graph, &complete, id(tip)).map(|id| id.as_bytes()[0])
        };
        assert_eq!(far(&[3, 2], 3), None);
        assert_eq!(far(&[3, 1], 3), Some(1));
        assert_eq!(far(&[3, 2, 1], 3), Some(3));
        assert_eq!(far(&[3, 2, 1], 12), Some(1));
    }
}
