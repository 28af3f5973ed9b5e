// Which of CodeNarc's rules the library, the Jenkinsfiles and the engine under harness/src/pytest_jenkinsfile keep.
// Each rule that is off has its reason. Categories left out: `dry` (arguments of steps repeat), `enhanced` (needs
// Jenkins on the class path), and those for Grails, JDBC, JUnit and logging.

// In Declarative a block is a section, `environment { NAME = … }` no assignment, and `_` what @Library is fastened to.
String declarative = /.*Jenkinsfile/
// Code that Jenkins transforms: the spread operator does not work there.
String transformed = /.*\/(vars|mlpipeline|cps)\/.*/
// Classes that stand for Jenkins' own: their names, nesting and bases are given.
String given = /.*\/groovy\/(hudson|jenkins|net|org)\/.*/

ruleset {
    ruleset('rulesets/basic.xml') {
        exclude 'ClassForName' // a saved program holds arrays, which loadClass does not know
        EmptyClass { doNotApplyToFilesMatching = given }
    }
    ruleset('rulesets/braces.xml')
    ruleset('rulesets/comments.xml')
    ruleset('rulesets/concurrency.xml') {
        NoScriptBindings { doNotApplyToFilesMatching = declarative }
    }
    ruleset('rulesets/convention.xml') {
        exclude 'CompileStatic' // CPS code and its engine are dynamic
        exclude 'CouldBeSwitchStatement' // over classes it reads no better
        exclude 'ImplicitClosureParameter' // `it` in a closure of a few words
        exclude 'ImplicitReturnStatement' // the library writes `return`, the engine does not
        exclude 'InvertedIfElse' // the short case comes first
        exclude 'IfStatementCouldBeTernary' // ternaries in ternaries
        exclude 'MethodReturnTypeRequired' // what a step returns is dynamic
        exclude 'NoDef'
        exclude 'NoJavaUtilDate' // scripts use it
        exclude 'VariableTypeRequired'
        exclude 'PublicMethodsBeforeNonPublicMethods' // methods stand in the order in which they call each other
        exclude 'StaticMethodsBeforeInstanceMethods'
    }
    ruleset('rulesets/design.xml') {
        ConstantsOnlyInterface { doNotApplyToFilesMatching = given }
        exclude 'AbstractClassWithoutAbstractMethod' // the base of scripts is never made by itself
        exclude 'Instanceof' // named arguments and what `input` gives may be anything
        exclude 'NestedForLoop' // the axes of a matrix
        exclude 'ReturnsNullInsteadOfEmptyCollection' // null is "no valid report", which an empty map is not
    }
    ruleset('rulesets/exceptions.xml') {
        exclude 'CatchException' // the end of a build is reported, whatever caused it
        exclude 'CatchNullPointerException' // the engine distinguishes its own faults from those of a script
        exclude 'CatchRuntimeException' // decodeBase64 throws nothing narrower
        exclude 'CatchThrowable'
        exclude 'ExceptionExtendsError' // a gap of the engine must pass through `catch (Exception)` of a script
        exclude 'ReturnNullFromCatchBlock'
    }
    ruleset('rulesets/formatting.xml') {
        exclude 'ClassEndsWithBlankLine'
        exclude 'ClassStartsWithBlankLine'
        LineLength { length = 180 }
        SpaceAroundMapEntryColon { characterAfterColonRegex = /\s/ }
    }
    ruleset('rulesets/generic.xml')
    ruleset('rulesets/groovyism.xml') {
        exclude 'ExplicitHashMapInstantiation' // `input` gives a HashMap, and the kinds of map differ in what is kept
        exclude 'ExplicitLinkedHashMapInstantiation'
    }
    ruleset('rulesets/imports.xml')
    ruleset('rulesets/jenkins.xml')
    ruleset('rulesets/naming.xml') {
        exclude 'ConfusingMethodName' // a table WHEN and the method `when` that reads it
        exclude 'FactoryMethodName' // `build` is Jenkins' word
        VariableName { ignoreVariableNames = '_' }
    }
    ruleset('rulesets/security.xml') {
        exclude 'JavaIoPackageAccess' // about Enterprise Java Beans
    }
    ruleset('rulesets/serialization.xml') {
        exclude 'SerializableClassMustDefineSerialVersionUID' // nothing is read by another version than wrote it
    }
    ruleset('rulesets/size.xml') {
        exclude 'CrapMetric' // needs a coverage file
        AbcMetric { doNotApplyToFilesMatching = declarative }
        CyclomaticComplexity { maxMethodComplexity = 25 } // one switch over the conditions of `post`
        MethodSize { maxLines = 60 }
        MethodCount { maxMethods = 46 } // a build does so much
        NestedBlockDepth {
            maxNestedBlockDepth = 9 // what Declarative wraps a stage in
            doNotApplyToFilesMatching = declarative
        }
    }
    ruleset('rulesets/unnecessary.xml') {
        exclude 'UnnecessaryCast' // @CompileStatic asks for some
        exclude 'UnnecessaryObjectReferences' // `with` hides which object is called
        exclude 'UnnecessaryReturnKeyword' // contradicts ImplicitReturnStatement
        exclude 'UnnecessarySetter' // System.setOut is no property
        UnnecessaryCollectCall { doNotApplyToFilesMatching = transformed }
        UnnecessaryGetter { ignoreMethodNames = 'getBuildCauses, getEnvironment, is*' } // steps, Jenkins' own spelling; methods that CPS transforms are no properties
    }
    ruleset('rulesets/unused.xml') {
        UnusedMethodParameter { ignoreRegex = 'declarative|unparsed|node|listener' } // signatures of Declarative and of Jenkins' jobs
        UnusedVariable { ignoreVariableNames = '_' }
    }
}
