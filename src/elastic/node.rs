//! Which node is asked next.
//!
//! Requests go round the nodes in turn. A node that failed is left out for a time that doubles with each
//! failure in a row; when all are left out, the one whose time ends first is asked, so that there is always
//! an answer.

use std::time::{Duration, Instant};

/// How long a node is left out after its first failure.
const FIRST_REST: Duration = Duration::from_secs(1);

/// The longest time a node is left out: one request a minute finds out that it is back.
const LONGEST_REST: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default)]
struct Node {
    failure_count: u32,
    rests_until: Option<Instant>,
}

/// The nodes and what is known of them.
#[derive(Debug)]
pub(crate) struct Nodes {
    nodes: Vec<Node>,
    next: usize,
}

impl Nodes {
    pub(crate) fn new(node_count: usize) -> Self {
        Self { nodes: vec![Node::default(); node_count], next: 0 }
    }

    /// The position of the node to ask now.
    pub(crate) fn choose(&mut self, now: Instant) -> usize {
        let count = self.nodes.len();
        let in_turn = (0..count).map(|step| (self.next + step) % count);
        // `min_by_key` keeps the first of equals: the next in turn among those that do not rest.
        let chosen = in_turn
            .min_by_key(|position| self.nodes[*position].rests_until.filter(|until| *until > now))
            .unwrap_or(0);
        self.next = (chosen + 1) % count.max(1);
        chosen
    }

    pub(crate) fn failed(&mut self, position: usize, now: Instant) {
        if let Some(node) = self.nodes.get_mut(position) {
            let rest = FIRST_REST.saturating_mul(1 << node.failure_count.min(16)).min(LONGEST_REST);
            node.failure_count = node.failure_count.saturating_add(1);
            node.rests_until = Some(now + rest);
        }
    }

    pub(crate) fn worked(&mut self, position: usize) {
        if let Some(node) = self.nodes.get_mut(position) {
            *node = Node::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_take_turns() {
        let mut nodes = Nodes::new(3);
        let now = Instant::now();
        let chosen: Vec<usize> = (0..5).map(|_| nodes.choose(now)).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1]);
    }

    #[test]
    fn a_failed_node_is_left_out_for_a_growing_time() {
        let mut nodes = Nodes::new(2);
        let start = Instant::now();
        nodes.failed(0, start);
        assert_eq!([nodes.choose(start), nodes.choose(start)], [1, 1]);
        let later = start + FIRST_REST + Duration::from_millis(1);
        assert_eq!(nodes.choose(later), 0);
        nodes.failed(0, later);
        assert_eq!(nodes.choose(later + FIRST_REST + Duration::from_millis(1)), 1);
        assert_eq!(nodes.choose(later + FIRST_REST + Duration::from_millis(1)), 1);
        nodes.worked(0);
        assert_eq!(nodes.choose(later), 0);
    }

    #[test]
    fn when_all_rest_the_first_to_end_is_asked() {
        let mut nodes = Nodes::new(2);
        let start = Instant::now();
        nodes.failed(1, start);
        nodes.failed(0, start + Duration::from_millis(10));
        assert_eq!(nodes.choose(start + Duration::from_millis(20)), 1);
    }
}
