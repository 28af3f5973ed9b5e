"""Scripts that break on Jenkins fail, and similar ones that work do not."""

from __future__ import annotations

import textwrap

import pytest
from pytest_jenkinsfile import CpsMismatch, Jenkins, UnsupportedError

BROKEN = {
    "Matcher": ("def m = ('abc' =~ /b/)", "m.find()"),
    "LazyMap": ("def m = new groovy.json.JsonSlurper().parseText('{\"a\": 1}')", "m.a"),
    "SubList": ("def m = [1, 2, 3].subList(0, 2)", "m"),
    "Optional": ("def m = Optional.of(1)", "m"),
    "MapWithDefault": ("def m = [:].withDefault { k -> k * 2 }", "m.a"),
    "WorkflowRun": ("def m = currentBuild.rawBuild", "m"),
}
FINE = (
    "new groovy.json.JsonSlurperClassic().parseText('{\"a\": 1}')",
    "java.util.regex.Pattern.compile('a')",
    "new Date(0)",
    "java.time.Instant.EPOCH",
    "new File('a')",
    "new IOException('a')",
    "[a: 1].entrySet().iterator().next()",
    "[1, 2].iterator()",
    "currentBuild.getBuildCauses()",
    "currentBuild",
    "env",
    "params",
)
LOOPS = {
    "for in list": "def s = 0; for (x in [1, 2]) { sleep 1; s += x }; s",
    "for in entries": "def s = 0; for (e in [a: 1, b: 2].entrySet()) { sleep 1; s += e.value }; s",
    "each": "def s = 0; [1, 2].each { sleep 1; s += it }; s",
    "each of map": "def s = 0; [a: 1, b: 2].each { k, v -> sleep 1; s += v }; s",
    "collect": "[0, 1].collect { sleep 1; it }.sum() + 2",
    "collectEntries": "[3].collectEntries { sleep 1; [it, it] }[3]",
    "findAll": "[1, 3].findAll { sleep 1; it > 1 }[0]",
    "every": "[1, 2].every { sleep 1; it > 0 } ? 3 : 0",
    "eachWithIndex": "def s = 0; [1, 1].eachWithIndex { v, i -> sleep 1; s += v + i }; s",
    "groupBy": "[1, 3].groupBy { sleep 1; it % 2 }[1][1]",
    "times": "def s = 0; 3.times { sleep 1; s++ }; s",
    "inject": "[1, 2].inject(0) { a, b -> sleep 1; a + b }",
    "while": "def s = 0; while (s < 3) { sleep 1; s++ }; s",
    "for with index": "def s = 0; for (int i = 0; i < 3; i++) { sleep 1; s++ }; s",
    "array": "def s = 0; for (x in ([1, 2] as Integer[])) { sleep 1; s += x }; s",
    "set": "def s = 0; for (x in ([1, 2] as Set)) { sleep 1; s += x }; s",
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_object_that_is_not_serialisable_fails_at_a_step(name: str, jenkins: Jenkins) -> None:
    held, use = BROKEN[name]
    build = jenkins.run(f'{held}\nsleep 1\necho "held: ${{{use}}}"\n')
    assert build.result == "FAILURE"
    assert "java.io.NotSerializableException" in build.text
    assert name in build.text
    assert "WorkflowScript:2" in build.text
    assert build.echoes == []


def test_the_fields_that_lead_to_it_are_named(jenkins: Jenkins) -> None:
    build = jenkins.run("def m = [a: [Optional.of(1)]]\nsleep 1\necho m\n")
    at = build.console.index("an exception which occurred:")
    first, *_, last, where = build.console[at + 1 : build.console.index("Finished: FAILURE") - 1]
    assert first == "\tin field com.cloudbees.groovy.cps.impl.BlockScopeEnv.locals"
    assert last == "\tin field jenkinsfile.Program.threads"
    assert where == "\tin WorkflowScript.run(WorkflowScript:2)"


@pytest.mark.parametrize("value", FINE)
def test_a_serialisable_object_survives_a_step(value: str, jenkins: Jenkins) -> None:
    build = jenkins.run(f"def v = {value}\nsleep 1\necho 'went on'\n")
    assert (build.result, build.echoes) == ("SUCCESS", ["went on"])


def test_an_entry_of_a_map_does_not_survive_a_step(jenkins: Jenkins) -> None:
    build = jenkins.run("for (e in [a: 1]) {\n  sleep 1\n  echo e.key\n}\n")
    assert build.result == "FAILURE"
    assert "NotSerializableException" in build.text
    assert "WorkflowScript:2" in build.text


@pytest.mark.parametrize("name", LOOPS)
def test_loops_with_steps_survive_a_restart_at_each_step(name: str, jenkins: Jenkins) -> None:
    build = jenkins.run(f'def f() {{ {LOOPS[name]} }}\necho "${{f()}}"\n')
    assert (build.result, build.echoes) == ("SUCCESS", ["3"])
    assert len(build.calls("sleep")) >= 1


def test_a_step_that_waits_in_noncps_code_is_a_mismatch(jenkins: Jenkins) -> None:
    script = "@NonCPS\ndef f() { sleep 1; return 'returned' }\necho \"${f()}\"\n"
    with pytest.raises(CpsMismatch, match=r"WorkflowScript\.f but wound up catching sleep.*:3"):
        jenkins.run(script)
    assert jenkins.run(script, cps_mismatches="warn").echoes == ["null"]


def test_a_step_that_does_not_wait_works_in_noncps_code(jenkins: Jenkins) -> None:
    build = jenkins.run("@NonCPS\ndef f() { echo 'said'; return 'returned' }\necho \"${f()}\"\n")
    assert build.echoes == ["said", "returned"]


def test_noncps_code_that_calls_cps_code_is_a_mismatch(jenkins: Jenkins) -> None:
    script = 'def g() { 1 }\n@NonCPS\ndef f() { g() + 1 }\necho "${f()}"\n'
    with pytest.raises(
        CpsMismatch, match=r"WorkflowScript\.f but wound up catching WorkflowScript\.g"
    ):
        jenkins.run(script)


def test_a_closure_in_a_gstring_is_a_mismatch(jenkins: Jenkins) -> None:
    with pytest.raises(CpsMismatch, match=r"WorkflowScript\.echo but wound up catching .*call"):
        jenkins.run('def n = 1\necho "a ${-> n}"\n')


def test_closures_and_methods_of_the_script_may_be_called_by_name(jenkins: Jenkins) -> None:
    build = jenkins.run("said = { x -> echo x }\ndef f(x) { said(x) }\nf('a')\nsaid('b')\n")
    assert build.echoes == ["a", "b"]


@pytest.mark.parametrize("call", ["sort { a, b -> a <=> b }", "unique { it }"])
def test_a_closure_handed_to_a_java_method_is_a_mismatch(call: str, jenkins: Jenkins) -> None:
    with pytest.raises(CpsMismatch, match=r"CpsClosure2\.call"):
        jenkins.run(f'echo "${{[3, 1].{call}}}"\n')


def test_sorting_in_noncps_code_works(jenkins: Jenkins) -> None:
    build = jenkins.run('@NonCPS\ndef f(l) { l.sort { a, b -> a <=> b } }\necho "${f([3, 1])}"\n')
    assert build.echoes == ["[1, 3]"]


STATIC = """
    class Kept { static int value = 0 }
    Kept.value = 5
    sleep 1
    echo "${Kept.value}"
"""


def test_a_static_is_lost_at_a_restart(jenkins: Jenkins) -> None:
    script = textwrap.dedent(STATIC)
    assert jenkins.run(script).echoes == ["0"]
    assert jenkins.run(script, restart_everywhere=False).echoes == ["5"]


def test_without_restarts_the_program_is_still_saved(jenkins: Jenkins) -> None:
    build = jenkins.run("def m = ('a' =~ /a/)\nsleep 1\n", restart_everywhere=False)
    assert "java.util.regex.Matcher" in build.text


def test_an_unknown_step_is_an_error_that_catch_does_not_catch(jenkins: Jenkins) -> None:
    escaped = jenkins.run("try { notAStep 1 } catch (e) { echo 'caught' }\n")
    assert (escaped.result, escaped.echoes) == ("FAILURE", [])
    assert (
        "java.lang.NoSuchMethodError: No such DSL method 'notAStep' found among steps ["
        in escaped.text
    )
    caught = jenkins.run("try { notAStep 1 } catch (NoSuchMethodError e) { echo 'caught' }\n")
    assert (caught.result, caught.echoes) == ("SUCCESS", ["caught"])


def test_a_step_of_an_installed_plugin_exists(jenkins: Jenkins) -> None:
    script = 'node { echo "${readJSON(text: \'{"a": 1}\').a}" }'
    assert jenkins.run(script, plugins=["pipeline-utility-steps"]).echoes == ["1"]


def test_a_step_of_an_installed_plugin_can_be_unsupported(
    jenkins: Jenkins,
) -> None:
    with pytest.raises(UnsupportedError, match="readMavenPom"):
        jenkins.run("readMavenPom(file: 'a')\n", plugins=["pipeline-utility-steps"])


def test_a_step_that_only_jenkins_has_is_unsupported(jenkins: Jenkins) -> None:
    script = (
        "node {\n try { resolveScm 'x' } catch (Throwable e) { echo 'hidden'; sh 'never' }\n}\n"
    )
    with pytest.raises(
        UnsupportedError, match=r"^WorkflowScript:2: the step 'resolveScm' is not supported"
    ):
        jenkins.run(script, sh={})
    assert jenkins.run(script, steps={"resolveScm": None}).result == "SUCCESS"


@pytest.mark.parametrize(
    "script",
    [
        "node { withMaven(maven: 'M3') { sh 'mvn' } }",
        "catchError { withMaven { } }",
        "retry(2) { withMaven { } }",
        "parallel a: { withMaven { } }, b: { sleep 5 }",
        (
            "pipeline { agent any\n stages { stage('a') { steps { withMaven { } } } }\n"
            " post { always { sh 'never' } } }"
        ),
    ],
)
def test_a_step_of_a_plugin_that_is_not_installed_is_unsupported(
    script: str, jenkins: Jenkins
) -> None:
    with pytest.raises(
        UnsupportedError, match=r"^WorkflowScript:[12]: the step 'withMaven' of the plugin"
    ):
        jenkins.run(f"{script}\n", sh={})


def test_a_global_variable_of_a_plugin_is_unsupported(jenkins: Jenkins) -> None:
    with pytest.raises(
        UnsupportedError, match=r"'Artifactory' of the plugin artifactory.*syntax\.md"
    ):
        jenkins.run("def server = Artifactory.server('x')\n")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import hudson.plugins.git.GitSCM\n", "the class hudson.plugins.git.GitSCM of Jenkins"),
        ('echo "${hudson.plugins.git.GitSCM}"\n', "classes of Jenkins in 'hudson'"),
    ],
)
def test_a_missing_class_of_jenkins_is_unsupported(
    script: str, message: str, jenkins: Jenkins
) -> None:
    with pytest.raises(UnsupportedError, match=rf"^WorkflowScript:1: {message}"):
        jenkins.run(script)


def test_an_unknown_name_is_unsupported_in_a_scenario_without_libraries(jenkins: Jenkins) -> None:
    with pytest.raises(
        UnsupportedError, match=r"^WorkflowScript:1: 'deployIt' is not a known step.*--library"
    ):
        jenkins.run("deployIt()\n", library={})
    caught = "try { deployIt() } catch (NoSuchMethodError e) { echo 'caught' }\n"
    assert jenkins.run(caught, library={}).echoes == ["caught"]


def test_a_script_may_name_its_package(jenkins: Jenkins) -> None:
    assert jenkins.run("package a.b\necho 'x'\n").echoes == ["x"]


def test_parallel_without_branches_returns_an_empty_map(jenkins: Jenkins) -> None:
    build = jenkins.run('echo "${parallel([:])} ${parallel()}"\n')
    assert (build.result, build.echoes) == ("SUCCESS", ["[:] [:]"])
    assert "No branches to run" in build.console


SPREAD = """
    def add(a, b) { a + b }
    def count(Object... all) { all.length }
    class Pair implements Serializable { int sum; Pair(int a, int b) { sum = a + b } }
    def two = [1, 2]
    def closure = { a, b -> sleep 1; a * b }
    def five = count(*two, *two, 9)
    echo "${[0, *two, 3]} ${[*: [a: 1], b: 2]} ${add(*two)} ${this.add(*two)} ${five}"
    echo "${closure(*two)} ${new Pair(*two).sum} ${null?.add(*two)} ${[*null]} ${[*('a'..'c')]}"
    echo(*['one argument'])
    node { echo sh(*: [returnStdout: true], script: 'date') }
    try { [*[a: 1]] } catch (IllegalArgumentException e) { echo e.message }
"""


@pytest.mark.parametrize("sandbox", [False, True])
def test_lists_maps_and_arguments_are_spread(sandbox: bool, jenkins: Jenkins) -> None:
    build = jenkins.run(textwrap.dedent(SPREAD), sh={"date": "today"}, sandbox=sandbox)
    assert build.echoes == [
        "[0, 1, 2, 3] [a:1, b:2] 3 3 5",
        "2 3 null [null] [a, b, c]",
        "one argument",
        "today",
        (
            "cannot spread the type java.util.LinkedHashMap with value [a:1], "
            "did you mean to use the spread-map operator instead?"
        ),
    ]


def test_the_sandbox_checks_spread_calls(jenkins: Jenkins) -> None:
    build = jenkins.run("System.exit(*[0])\n", sandbox=True)
    assert "staticMethod java.lang.System exit java.lang.Integer" in build.text
    made = jenkins.run("new File(*['x'])\n", sandbox=True)
    assert "new java.io.File java.lang.String" in made.text


PRINTED = """
    println 'a'
    println()
    print 'b'
    printf('%s-%d', 'c', 4)
    printf('%s', 'd')
    echo sprintf('%s-%d', 'e', 5)
    node { println "f${1}"; print([g: 1]); printf('%s rows', 3); println() }
    node { printf('%s %s', 'shown', 'nowhere') }
    [7].each { println it }
    @NonCPS def plain() { println 'h' }
    plain()
    System.out.println 'nowhere'
    class Own implements Serializable { def speak() { println 'nowhere' } }
    new Own().speak()
    parallel i: { println 'i' }
"""


def test_println_is_an_echo(jenkins: Jenkins) -> None:
    build = jenkins.run(textwrap.dedent(PRINTED))
    assert build.result == "SUCCESS"
    assert build.echoes == [
        "a",
        "",
        "b",
        "c-4",
        "d",
        "e-5",
        "f1",
        "{g=1}",
        "3 rows",
        "",
        "7",
        "h",
        "i",
    ]
    assert "nowhere" not in build.text


def test_the_sandbox_refuses_the_output_of_java(jenkins: Jenkins) -> None:
    build = jenkins.run("println 'mine'\nSystem.out.println 'x'\n", sandbox=True)
    assert (build.result, build.echoes) == ("FAILURE", ["mine"])
    assert "staticField java.lang.System out" in build.text


def test_spread_calls_are_not_supported_in_cps_code(jenkins: Jenkins) -> None:
    build = jenkins.run("echo \"${['a']*.length()}\"\n")
    assert build.result == "FAILURE"
    assert "spread not yet supported" in build.text


def test_too_large_a_method_does_not_compile(jenkins: Jenkins) -> None:
    lines = "\n".join(f'  echo "${{[{n}, {n}].collect {{ it + {n} }}}}"' for n in range(400))
    build = jenkins.run(f"def a() {{\n{lines}\n}}\na()\n")
    assert build.result == "FAILURE"
    assert "[Pipeline] Start of Pipeline" not in build.console


def test_more_than_250_statements_in_a_block_fail(jenkins: Jenkins) -> None:
    build = jenkins.run("def x = 0\n" + "x = 1\n" * 260)
    assert build.result == "FAILURE"
