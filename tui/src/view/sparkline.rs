//! Round trips as bars, the latest at the right. A bar's height is its share of the longest one shown; a lost sample is
//! a cross.

use std::time::Duration;

use ratatui::text::Span;

use crate::{
    feed::Status,
    theme::{Role, Theme},
};

pub(super) fn sparkline(
    latest_first: impl Iterator<Item = Option<Duration>>,
    columns: usize,
    theme: Theme,
) -> Vec<Span<'static>> {
    let mut samples: Vec<_> = latest_first.take(columns).collect();
    samples.reverse();
    let longest = samples.iter().flatten().max().copied().unwrap_or_default();
    samples.into_iter().map(|sample| bar(sample, longest, theme)).collect()
}

fn bar(sample: Option<Duration>, longest: Duration, theme: Theme) -> Span<'static> {
    let Some(sample) = sample else {
        return Span::styled(theme.mark(Status::Fail), theme.style(Role::Bad));
    };
    let bars = theme.bars();
    let share = sample.as_secs_f64() / longest.as_secs_f64().max(f64::MIN_POSITIVE);
    let level = (share * bars.len() as f64).ceil() as usize;
    Span::styled(bars[level.clamp(1, bars.len()) - 1], theme.style(Role::Good))
}

#[cfg(test)]
mod tests {
    use ratatui::{buffer::Buffer, layout::Rect, text::Line, widgets::Widget};

    use super::*;

    fn drawn(millis: &[Option<u64>], columns: u16, ascii: bool) -> Buffer {
        let theme = Theme { colour: false, ascii };
        let samples = millis.iter().rev().map(|ms| ms.map(Duration::from_millis));
        let mut buffer = Buffer::empty(Rect::new(0, 0, columns, 1));
        Line::from(sparkline(samples, usize::from(columns), theme)).render(buffer.area, &mut buffer);
        buffer.set_style(buffer.area, ratatui::style::Style::reset());
        buffer
    }

    fn plain(text: &str) -> Buffer {
        let mut buffer = Buffer::with_lines([text]);
        buffer.set_style(buffer.area, ratatui::style::Style::reset());
        buffer
    }

    #[test]
    fn heights_are_shares_of_the_longest() {
        assert_eq!(drawn(&[Some(1), Some(40), Some(80), Some(60)], 6, false), plain("▁▄█▆  "));
        assert_eq!(drawn(&[Some(1), Some(40), Some(80)], 3, true), plain("_-#"));
    }

    #[test]
    fn a_loss_is_a_cross_and_a_zero_still_a_bar() {
        assert_eq!(drawn(&[Some(0), None, Some(0)], 3, false), plain("▁×▁"));
        assert_eq!(drawn(&[None, None], 2, true), plain("xx"));
    }

    #[test]
    fn only_the_latest_are_shown() {
        assert_eq!(drawn(&[Some(80), Some(1), Some(8)], 2, false), plain("▁█"));
    }

    #[test]
    fn no_samples_no_bars() {
        assert_eq!(drawn(&[], 2, false), plain("  "));
    }
}
