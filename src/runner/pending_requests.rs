//! Requests that come before their task.
//!
//! Between the moment a task is handed out and the moment its runner begins it lies a
//! while in which requests may come. They are remembered until then. What was meant for
//! a task that never begins, or has ended, must not reach the next one, so every
//! request names its task.

use crate::model::TaskId;

use super::Request;

/// The requests to the last task that anything was asked of before it began.
#[derive(Debug, Default)]
pub(super) struct PendingRequests {
    task: Option<TaskId>,
    requests: Vec<Request>,
}

impl PendingRequests {
    /// Remembers a request.
    pub(super) fn keep(&mut self, task: TaskId, request: Request) {
        if self.task != Some(task) {
            self.task = Some(task);
            self.requests.clear();
        }
        match request {
            Request::Resume => self.requests.retain(|&one| one != Request::Pause),
            _ if self.requests.contains(&request) => {}
            _ => self.requests.push(request),
        }
    }

    /// What was asked of the task that begins now, in order; forgets all the rest.
    pub(super) fn take(&mut self, task: TaskId) -> Vec<Request> {
        match std::mem::take(self) {
            Self {
                task: Some(of),
                requests,
            } if of == task => requests,
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_comes_once_and_only_to_its_task() {
        let mut early = PendingRequests::default();
        early.keep(TaskId(1), Request::Kill);
        early.keep(TaskId(2), Request::Pause);
        early.keep(TaskId(2), Request::Terminate);
        early.keep(TaskId(2), Request::Terminate);
        assert_eq!(early.take(TaskId(2)), [Request::Pause, Request::Terminate]);
        assert!(early.take(TaskId(2)).is_empty());
        early.keep(TaskId(3), Request::Pause);
        early.keep(TaskId(3), Request::Resume);
        assert!(early.take(TaskId(3)).is_empty());
        early.keep(TaskId(4), Request::Kill);
        assert!(early.take(TaskId(5)).is_empty(), "it was not asked");
        assert!(early.take(TaskId(4)).is_empty(), "its time is over");
    }
}
