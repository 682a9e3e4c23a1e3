# core/ and image/ under other eyes: the same sources, and the tests that need nothing else, compiled once
# more in three ways.
#
#   make coverage           lines and branches that the tests reach, file by file
#   make sanitize           the tests under AddressSanitizer and UndefinedBehaviorSanitizer
#   make fuzz SECONDS=60    each parser under libFuzzer (clang) for so long; FUZZ="hex elf" chooses
#   make corpus             what fuzzing found, reduced, to tests/fuzz/corpus, with what our writers make

PARSERS      := $(wildcard core/*.c image/*.c) tests/samples.c tests/leaks.c tests/fuzz/targets.c
PARSER_TESTS := dfu_state memory_map image file_damage corpus foreign
FUZZED       := $(filter-out tests/leaks.c,$(PARSERS))
SECONDS      ?= 60
FUZZ         ?= any elf hex srec dfuse uf2 suffix memory_map dfu_state

cov.CC     := $(CC)
cov.FLAGS  := -O0 -g --coverage -DDAMAGE_STEP=23
asan.CC    := $(CC)
asan.FLAGS := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -DDAMAGE_STEP=23
fuzz.CC    := clang
fuzz.FLAGS := -O1 -g -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all

define VARIANT
$B/$1/%.o: %.c
	@mkdir -p $$(@D)
	$$($1.CC) -std=c11 -I. -MMD -MP -D_GNU_SOURCE $$($1.FLAGS) -c $$< -o $$@
endef
$(foreach v,cov asan fuzz,$(eval $(call VARIANT,$v)))

SANITIZED := $(PARSER_TESTS:%=$B/tests/test_%_sanitized)
$(SANITIZED): $B/tests/test_%_sanitized: $B/asan/tests/test_%.o $(PARSERS:%.c=$B/asan/%.o)
	@mkdir -p $(@D)
	$(asan.CC) $(asan.FLAGS) $^ -o $@ -lcriterion -lelf -lz
sanitize: $(SANITIZED)
	@tests/run $^

COVERED := $(PARSER_TESTS:%=$B/cov/test_%)
$(COVERED): $B/cov/test_%: $B/cov/tests/test_%.o $(PARSERS:%.c=$B/cov/%.o)
	$(cov.CC) $(cov.FLAGS) $^ -o $@ -lcriterion -lelf -lz
coverage: $(COVERED)
	@find $B/cov -name '*.gcda' -delete
	@tests/run $^
	@tests/coverage $B/cov $(filter-out tests/%,$(PARSERS))

$B/fuzz/fuzz_%: tests/fuzz/libfuzzer.c $(FUZZED:%.c=$B/fuzz/%.o)
	$(fuzz.CC) -std=c11 -I. $(subst fuzzer-no-link,fuzzer,$(fuzz.FLAGS)) -DTARGET=fuzz_$* $^ -o $@ -lelf -lz
fuzz: $(FUZZ:%=$B/fuzz/fuzz_%)
	@for target in $(FUZZ); do \
	    mkdir -p $B/fuzz/found/$$target; \
	    echo "fuzz_$$target: $(SECONDS) s"; \
	    $B/fuzz/fuzz_$$target -max_total_time=$(SECONDS) -max_len=4096 -timeout=10 -verbosity=0 \
	        -print_final_stats=1 -artifact_prefix=$B/fuzz/$$target- \
	        $B/fuzz/found/$$target tests/fuzz/corpus/$$target 2>&1 | grep -E 'ERROR|broken|unit|exec' ; \
	    ! ls $B/fuzz/$$target-* 2>/dev/null || exit 1; \
	done

$B/fuzz/seeds: tests/fuzz/seeds.c $(FUZZED:%.c=$B/obj/%.o)
	@mkdir -p $(@D)
	$(CC) $(HOSTFLAGS) $^ -o $@ -lelf -lz
corpus: $B/fuzz/seeds $(FUZZ:%=$B/fuzz/fuzz_%)
	@mkdir -p tests/fuzz/corpus
	@for target in $(FUZZ); do \
	    mkdir -p $B/fuzz/found/$$target $B/fuzz/kept; \
	    rm -rf $B/fuzz/kept/$$target tests/fuzz/corpus/$$target; mkdir -p $B/fuzz/kept/$$target; \
	    $B/fuzz/fuzz_$$target -set_cover_merge=1 $B/fuzz/kept/$$target $B/fuzz/found/$$target >$B/fuzz/merge.log 2>&1 || exit 1; \
	done
	@$B/fuzz/seeds tests/fuzz/corpus
	@tests/fuzz/keep $B/fuzz/kept tests/fuzz/corpus
