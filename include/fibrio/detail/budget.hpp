// A task that never has to wait looks around now and then.
#pragma once

namespace fibrio::detail {

// Before an operation that has what it needs at hand, as a message that is buffered: now and then a cancel that is
// pending is delivered here, and timers are looked at. Throws CancelledError; then nothing was taken.
void spend_turn();

}  // namespace fibrio::detail
