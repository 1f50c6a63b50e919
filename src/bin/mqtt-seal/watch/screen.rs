//! The topics on a terminal. Draws; knows no connection.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::topics::{self, Topics};

/// Draws `topics`; `title` says what is watched.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    title: &str,
    topics: &Topics,
    colour: bool,
    now: Instant,
) {
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)])
            .areas(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Paragraph::new(Line::styled(title, bold)), top);
    frame.render_widget(table(middle, topics, colour, now), middle);
    let foot = format!(
        "{} messages of {} topics, {} rejected; {} s; q ends",
        topics.messages,
        topics.len(),
        topics.rejected,
        topics.elapsed(now).as_secs(),
    );
    frame.render_widget(Paragraph::new(foot), bottom);
}

fn table(area: Rect, topics: &Topics, colour: bool, now: Instant) -> Table<'static> {
    let heads = ["topic", "messages", "per s", "bytes", "the broker sees", "a key holder sees"];
    let heads = Row::new(heads).style(Style::new().add_modifier(Modifier::REVERSED));
    let rows = usize::from(area.height.saturating_sub(1));
    let rows = topics.rows(rows, now);
    let rows = rows.into_iter().map(|(row, rate)| line(row, rate, colour));
    let widths = [
        Constraint::Fill(2),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Fill(3),
        Constraint::Fill(3),
    ];
    Table::new(rows, widths).header(heads)
}

fn line(row: &topics::Row, rate: String, colour: bool) -> Row<'static> {
    let shade = |shade| if colour { Style::new().fg(shade) } else { Style::new() };
    let holder = match &row.last.holder {
        Ok(text) => Cell::new(text.clone()).style(shade(Color::Green)),
        Err(reason) => Cell::new(format!("rejected: {reason}")).style(shade(Color::Red)),
    };
    Row::new([
        Cell::new(row.last.topic.clone()),
        Cell::new(row.messages.to_string()),
        Cell::new(rate),
        Cell::new(row.mean().to_string()),
        Cell::new(row.last.broker.clone()).style(shade(Color::Yellow)),
        holder,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::topics::Seen;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn drawn(width: u16, height: u16, colour: bool) -> Terminal<TestBackend> {
        let start = Instant::now();
        let mut topics = Topics::new(start);
        let seen = |topic: &str, holder: Result<&str, &str>| Seen {
            topic: topic.into(),
            len: 37,
            broker: "fc40a1b2".into(),
            holder: holder.map(Into::into).map_err(Into::into),
        };
        topics.take(seen("sensor/temp", Ok("27")), start);
        topics.take(seen("sensor/odd", Err("the message is not authentic")), start);
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, "title", &topics, colour, start)).unwrap();
        terminal
    }

    #[test]
    fn both_columns_and_the_counts_are_drawn() {
        let text = drawn(110, 6, false).backend().to_string();
        for part in [
            "title",
            "the broker sees",
            "sensor/temp",
            "fc40a1b2",
            "27",
            "rejected: the message is not",
            "2 messages of 2 topics, 1 rejected",
            "0.1",
        ] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
    }

    #[test]
    fn any_size_is_drawn() {
        for width in [0, 1, 5, 40, 300] {
            for height in [0, 1, 2, 3, 50] {
                drawn(width, height, true);
            }
        }
    }

    #[test]
    fn colours_are_used_only_where_they_are_wanted() {
        let coloured = |terminal: &Terminal<TestBackend>| {
            terminal.backend().buffer().content().iter().any(|cell| cell.fg != Color::Reset)
        };
        assert!(coloured(&drawn(100, 6, true)));
        assert!(!coloured(&drawn(100, 6, false)));
    }
}
