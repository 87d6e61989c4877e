// StreamReader on data that is fed to it: asyncio's own tests of it.
#include "support/streams.hpp"

using namespace fibrio;
using namespace fibrio::net_test;

namespace {

const std::string kLine = "line1\nline2\nline3\n";

StreamReader fed(std::string_view data, std::size_t limit = kStreamLimit) {
  StreamReader reader(limit);
  reader.feed_data(data);
  return reader;
}
StreamReader ended(std::string_view data, std::size_t limit = kStreamLimit) {
  StreamReader reader = fed(data, limit);
  reader.feed_eof();
  return reader;
}
// Runs `later` soon; what the test goes on with has to wait for it.
template <class F>
void soon(F later) {
  get_running_loop().call_soon(std::move(later));
}
const std::exception_ptr kFailure = std::make_exception_ptr(std::domain_error("made up"));

}  // namespace

// asyncio: test_streams StreamTests.test_feed_empty_data
// asyncio: test_streams StreamTests.test_feed_nonempty_data
// asyncio: test_streams StreamTests.test_at_eof
TEST_CASE("StreamReader: fed data is buffered; at_eof once it is read and the end is fed", "[streams]") {
  StreamReader reader;
  reader.feed_data("");
  CHECK(reader.buffered() == 0);
  reader.feed_data("data");
  CHECK(reader.buffered() == 4);
  CHECK_FALSE(reader.at_eof());
  reader.feed_eof();
  CHECK_FALSE(reader.at_eof());
  CHECK_THROWS_AS(reader.feed_data("late"), RuntimeError);
  on_loop({1, false}, [&] {
    expect_text(reader.read(), "data", "what was fed");
    expect(reader.at_eof(), "the end");
  });
}

// asyncio: test_streams StreamTests.test_read_zero
// asyncio: test_streams StreamTests.test_read
// asyncio: test_streams StreamTests.test_read_line_breaks
// asyncio: test_streams StreamTests.test_read_eof
// asyncio: test_streams StreamTests.test_read_limit
TEST_CASE("StreamReader::read returns what is there, at most n bytes, and waits only for the first",
          "[streams]") {
  on_loops([] {
    StreamReader reader;
    expect_text(reader.read(0), "", "read(0)");
    soon([&] { reader.feed_data(kLine); });
    expect_text(reader.read(30), kLine, "after a wait");
    reader.feed_data("line1");
    reader.feed_data("line2");
    expect_text(reader.read(5), "line1", "no more than n");
    expect_text(reader.read(1000), "line2", "the rest");
    soon([&] { reader.feed_eof(); });
    expect_text(reader.read(1024), "", "at the end");
    StreamReader limited = fed("chunk", 3);
    expect_text(limited.read(5), "chunk", "more than the limit");
  });
}

// asyncio: test_streams StreamTests.test_read_until_eof
TEST_CASE("StreamReader::read of everything returns at the end", "[streams]") {
  on_loops([] {
    StreamReader reader;
    soon([&] {
      reader.feed_data("chunk1\n");
      soon([&] {
        reader.feed_data("chunk2");
        reader.feed_eof();
      });
    });
    expect_text(reader.read(-1), "chunk1\nchunk2", "all");
    expect_text(reader.read(-1), "", "nothing more");
  });
}

TEST_CASE("StreamReader::read_some reads into a buffer what is there", "[streams]") {
  on_loops([] {
    StreamReader reader = ended("abcdef");
    std::string buffer(4, '-');
    expect_equal(reader.read_some(std::span<std::byte>()), 0, "into nothing");
    expect_equal(reader.read_some(bytes_of(buffer)), 4, "bytes");
    expect_text(buffer, "abcd", "the first");
    expect_equal(reader.read_some(bytes_of(buffer)), 2, "the rest");
    expect_text(buffer, "efcd", "the rest");
    expect_equal(reader.read_some(bytes_of(buffer)), 0, "at the end");
  });
}

// asyncio: test_streams StreamTests.test_invalid_limit
TEST_CASE("A StreamReader's limit is at least 1", "[streams]") {
  CHECK_THROWS_AS(StreamReader(0), std::invalid_argument);
  CHECK(StreamReader(1).limit() == 1);
  CHECK(StreamReader().limit() == 65536);
}

// asyncio: test_streams StreamTests.test_readline
// asyncio: test_streams StreamTests.test_readline_nolimit_nowait
// asyncio: test_streams StreamTests.test_readline_eof
// asyncio: test_streams StreamTests.test_readline_empty_eof
// asyncio: test_streams StreamTests.test_readline_read_byte_count
TEST_CASE("StreamReader::readline puts lines together; the last one needs no end", "[streams]") {
  on_loops([] {
    StreamReader reader = fed("chunk1 ");
    soon([&] {
      reader.feed_data("chunk2 ");
      soon([&] {
        reader.feed_data("chunk3 ");
        reader.feed_data("\n chunk4");
      });
    });
    expect_text(reader.readline(), "chunk1 chunk2 chunk3 \n", "of several chunks");
    expect_equal(reader.buffered(), 7, "bytes left");
    StreamReader lines = ended(kLine + "some data");
    expect_text(lines.readline(), "line1\n", "a line");
    expect_text(lines.read(7), "line2\nl", "bytes after a line");
    expect_text(lines.readline(), "ine3\n", "the rest of a line");
    expect_text(lines.readline(), "some data", "without an end");
    expect_text(lines.readline(), "", "at the end");
  });
}

TEST_CASE("StreamReader::readline does not suspend for a line that is there", "[streams]") {
  on_loop({1, false}, [] {
    StreamReader reader = fed(kLine);
    bool others_ran = false;
    soon([&] { others_ran = true; });
    expect_text(reader.readline(), "line1\n", "a line");
    expect_text(reader.readline(), "line2\n", "the next one");
    expect(!others_ran, "no suspension");
    sleep(Duration(0));
  });
}

// asyncio: test_pep492 StreamReaderTests.test_readline
TEST_CASE("StreamReader::lines are those up to the end", "[streams]") {
  on_loops([] {
    StreamReader reader = ended("line1\n\nline3");
    std::string joined;
    for (const std::string& line : reader.lines()) joined += "<" + line + ">";
    expect_text(joined, "<line1\n><\n><line3>", "lines");
  });
}

// asyncio: test_streams StreamTests.test_readline_limit_with_existing_data
// asyncio: test_streams StreamTests.test_readline_limit
TEST_CASE("StreamReader::readline drops a line over the limit, as far as it has come", "[streams]") {
  on_loops([] {
    {
      StreamReader reader = fed("li", 3);
      reader.feed_data("ne1\nline2\n");
      thrown<std::invalid_argument>([&] { reader.readline(); }, "too long, its end known");
      expect_equal(reader.buffered(), 6, "the next line");
    }
    {
      StreamReader reader = fed("line1", 3);
      thrown<std::invalid_argument>([&] { reader.readline(); }, "too long, its end unknown");
      expect_equal(reader.buffered(), 0, "all dropped");
    }
    {
      StreamReader reader(7);
      soon([&] {
        reader.feed_data("chunk1");
        soon([&] {
          reader.feed_data("chunk2\n");
          reader.feed_data("chunk3\n");
          reader.feed_eof();
        });
      });
      thrown<std::invalid_argument>([&] { reader.readline(); }, "too long, it comes later");
      expect_text(reader.read(), "chunk3\n", "what comes after it");
    }
    StreamReader exact = fed("abc\nxyz\n", 3);
    expect_text(exact.readline(), "abc\n", "a line as long as the limit");
    expect_text(exact.readline(), "xyz\n", "the next one");
  });
}

// asyncio: test_streams StreamTests.test_readuntil_separator
// asyncio: test_streams StreamTests.test_readuntil_bytearray
TEST_CASE("StreamReader::readuntil takes any bytes for a separator, but not none", "[streams]") {
  on_loops([] {
    StreamReader reader = fed(std::string("some data\r\n\0\xff", 13));
    thrown<std::invalid_argument>([&] { reader.readuntil(""); }, "empty");
    thrown<std::invalid_argument>([&] { reader.readuntil({"a", ""}); }, "one empty");
    thrown<std::invalid_argument>([&] { reader.readuntil(std::span<const std::string_view>()); },
                                  "no separator");
    expect_text(reader.readuntil("\r\n"), "some data\r\n", "text");
    expect_equal(reader.readuntil(std::string_view("\0\xff", 2)).size(), 2, "bytes");
  });
}

// asyncio: test_streams StreamTests.test_readuntil_multi_chunks
// asyncio: test_streams StreamTests.test_readuntil_multi_chunks_1
TEST_CASE("StreamReader::readuntil finds a separator that comes in pieces", "[streams]") {
  on_loops([] {
    for (const char* chunks : {"QWERTY|AAA|AAA", "QWE|RT|YA|AAA|AA", "QWERTYAAAA|AAA", "QWERTYA|AAAAA"}) {
      StreamReader reader;
      std::string text;
      for (const std::string_view all = chunks; const char byte : all) {
        if (byte == '|') {
          reader.feed_data(std::exchange(text, {}));
        } else {
          text += byte;
        }
      }
      auto feeding = create_task([&] { reader.feed_data(text); });
      const std::string found = reader.readuntil("AAA");
      await(feeding);
      expect_text(found, "QWERTYAAA", chunks);
    }
    StreamReader reader;
    for (const char byte : std::string_view("xxAAAAB")) {
      reader.feed_data(std::string_view(&byte, 1));
    }
    expect_text(reader.readuntil("AAB"), "xxAAAAB", "one that overlaps with itself");
  });
}

// asyncio: test_streams StreamTests.test_readuntil_eof
TEST_CASE("StreamReader::readuntil at the end gives what came, and leaves nothing", "[streams]") {
  on_loops([] {
    StreamReader reader = ended("some dataAA");
    const auto error = thrown<IncompleteReadError>([&] { reader.readuntil("AAA"); }, "no separator");
    expect_text(error.partial(), "some dataAA", "partial");
    expect(!error.expected(), "nobody knows how much was to come");
    expect_equal(reader.buffered(), 0, "bytes left");
  });
}

// asyncio: test_streams StreamTests.test_readuntil_limit_found_sep
TEST_CASE("StreamReader::readuntil over the limit leaves the data", "[streams]") {
  on_loops([] {
    StreamReader reader = fed("some dataAA", 3);
    auto error = thrown<LimitOverrunError>([&] { reader.readuntil("AAA"); }, "not found");
    expect(std::string(error.what()).find("not found") != std::string::npos, error.what());
    expect_equal(error.consumed(), 9, "searched in vain");
    expect_equal(reader.buffered(), 11, "bytes left");
    reader.feed_data("A");
    error = thrown<LimitOverrunError>([&] { reader.readuntil("AAA"); }, "found");
    expect(std::string(error.what()).find("was found") != std::string::npos, error.what());
    expect_equal(error.consumed(), 9, "before the separator");
    expect_text(reader.readexactly(12), "some dataAAA", "the data");
  });
}

// asyncio: test_streams StreamTests.test_readuntil_multi_separator
// asyncio: test_streams StreamTests.test_readuntil_multi_separator_negative_offset
TEST_CASE("StreamReader::readuntil with several separators takes the match that ends first", "[streams]") {
  on_loops([] {
    StreamReader reader = fed("QWERTYbAAAUIOP");
    expect_text(reader.readuntil({"AAAA", "b"}), "QWERTYb", "the shorter one");
    expect_text(reader.readuntil({"AAU", "AAA"}), "AAA", "the one that ends first");
    expect_text(reader.readuntil({"IOP", "P", "UIOP"}), "UIOP", "one that ends where others do");
    StreamReader later = fed("data");
    soon([&] { later.feed_data("\r\r\n"); });
    expect_text(later.readuntil({"\r\n", "\n", "\r\r\n"}), "data\r\r\n", "in pieces");
    StreamReader short_first = fed("b");
    soon([&] { short_first.feed_data("c"); });
    expect_text(short_first.readuntil({"long separator", "c"}), "bc", "data shorter than a separator");
  });
}

// asyncio: test_streams StreamTests.test_readuntil_multi_separator_limit
TEST_CASE("StreamReader::readuntil compares the limit with where the match begins", "[streams]") {
  on_loops([] {
    StreamReader reader = fed("some dataA", 3);
    const auto error = thrown<LimitOverrunError>(
        [&] {
          reader.readuntil({"A", "ome dataA"});
        },
        "over the limit");
    expect_equal(error.consumed(), 9, "the match of the shorter one");
    StreamReader exact = fed("abcXYZ", 3);
    expect_text(exact.readuntil("XYZ"), "abcXYZ", "exactly the limit, and a separator behind it");
  });
}

// asyncio: test_streams StreamTests.test_readexactly_zero_or_less
// asyncio: test_streams StreamTests.test_readexactly
// asyncio: test_streams StreamTests.test_readexactly_limit
// asyncio: test_streams StreamTests.test_readexactly_eof
TEST_CASE("StreamReader::readexactly waits for all of it, over the limit too; or says what is missing",
          "[streams]") {
  on_loops([] {
    StreamReader reader(3);
    expect_text(reader.readexactly(0), "", "nothing");
    thrown<std::invalid_argument>([&] { reader.readexactly(static_cast<std::size_t>(-1)); }, "negative");
    soon([&] {
      reader.feed_data(kLine);
      soon([&] { reader.feed_data(kLine + "tail"); });
    });
    expect_text(reader.readexactly(2 * kLine.size()), kLine + kLine, "two pieces");
    expect_equal(reader.buffered(), 4, "bytes left");
    soon([&] { reader.feed_eof(); });
    const auto error = thrown<IncompleteReadError>([&] { reader.readexactly(6); }, "too few");
    expect_text(error.partial(), "tail", "partial");
    expect(error.expected() == 6, "expected");
    expect(std::string(error.what()) == "4 bytes read of 6 expected bytes", error.what());
    expect_equal(reader.buffered(), 0, "bytes left");
  });
}

// asyncio: test_streams StreamTests.test_exception
// asyncio: test_streams StreamTests.test_read_exception
// asyncio: test_streams StreamTests.test_readline_exception
// asyncio: test_streams StreamTests.test_readexactly_exception
TEST_CASE("StreamReader: a stored error comes out of every read, before buffered data", "[streams]") {
  on_loops([] {
    StreamReader reader = fed(kLine);
    expect(reader.exception() == nullptr, "no error");
    expect_text(reader.read(2), "li", "without an error");
    reader.set_exception(kFailure);
    expect(reader.exception() == kFailure, "the error");
    thrown<std::domain_error>([&] { reader.read(2); }, "read");
    thrown<std::domain_error>([&] { reader.read(0); }, "read of nothing");
    thrown<std::domain_error>([&] { reader.readline(); }, "readline");
    thrown<std::domain_error>([&] { reader.readuntil("n"); }, "readuntil");
    thrown<std::domain_error>([&] { reader.readexactly(2); }, "readexactly");
    std::byte buffer[2];
    thrown<std::domain_error>([&] { reader.read_some(buffer); }, "read_some");
    thrown<std::invalid_argument>([&] { reader.set_exception(nullptr); }, "no error");
  });
}

// asyncio: test_streams StreamTests.test_exception_waiter
TEST_CASE("StreamReader: a task that waits for fed data gets the error", "[streams]") {
  on_loops([] {
    StreamReader reader;
    auto waiting = create_task([&] { return reader.readline(); });
    wait_until_waits(waiting);
    reader.set_exception(kFailure);
    thrown<std::domain_error>([&] { await(waiting); }, "the waiting read");
  });
}

// asyncio: test_streams StreamTests.test_exception_cancel
TEST_CASE("StreamReader: an error after the reading task was cancelled harms nobody; nor is data lost",
          "[streams]") {
  on_loops([] {
    StreamReader reader = fed("begun ");
    auto waiting = create_task([&] { return reader.readline(); });
    wait_until_waits(waiting);
    waiting.cancel();
    waiting.wait();
    expect(waiting.cancelled(), "a cancelled read");
    reader.feed_data("ended\n");
    expect_text(reader.readline(), "begun ended\n", "the line");
    auto again = create_task([&] { return reader.readline(); });
    wait_until_waits(again);
    again.cancel();
    reader.set_exception(kFailure);
    again.wait();
    thrown<std::domain_error>([&] { reader.read(); }, "the next read");
  });
}

TEST_CASE("StreamReader: a second reading task is refused, and the first one goes on", "[streams]") {
  on_loops([] {
    StreamReader reader;
    auto first = create_task([&] { return reader.readline(); });
    wait_until_waits(first);
    const auto error = thrown<RuntimeError>([&] { reader.read(1); }, "a second reader");
    expect(std::string(error.what()).find("another task") != std::string::npos, error.what());
    reader.feed_data("line\n");
    expect_text(await(first), "line\n", "the first one's line");
  });
}
